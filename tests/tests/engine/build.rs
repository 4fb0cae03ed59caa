use anyhow::{Result, ensure};
use corten_tests::archive;
use corten_tests::engine::Engine;
use serde_json::json;

use crate::case::{array, cases, encode, output, shell, with};

cases![
    Both instructions_make_the_image,
    Both only_changed_layers_are_rebuilt,
    Both stages_arguments_and_targets,
    Both the_dockerfile_stays_out_where_it_is_ignored,
    Both an_archive_is_unpacked_by_add,
    Both a_failing_step_tells_its_code,
    Both errors_point_at_the_line,
    Both a_compressed_context_is_taken,
    Both a_stage_that_another_begins_with_is_not_listed,
    Both layers_are_compressed,
];

/// Builds `files` and gives the text of the stream.
fn build(e: &Engine, query: &str, files: &[(&str, &str)]) -> Result<String> {
    let answer = e.post_tar(&format!("/build?{query}"), &archive::files(files)?)?.expect(200)?;
    Ok(answer
        .json_lines()?
        .iter()
        .filter_map(|l| l["stream"].as_str().or_else(|| l["error"].as_str()).map(str::to_owned))
        .collect())
}

fn instructions_make_the_image(e: &mut Engine) -> Result<()> {
    let dockerfile = "FROM busybox\nLABEL a=b\nENV X=1 Y=\"two words\"\nWORKDIR /work\nCOPY --chown=1000:1000 note ./\nRUN echo $Y > made && id -u >> made\n\
        USER web\nRUN [\"sh\", \"-c\", \"id -u > /tmp/user\"]\nEXPOSE 80 53/udp\nVOLUME /data\nENTRYPOINT [\"cat\"]\nCMD [\"made\"]\n";
    let text = build(e, "t=made", &[("Dockerfile", dockerfile), ("note", "hello")])?;
    ensure!(
        text.contains("Step 1/12 : FROM busybox\n") && text.contains("Successfully tagged made:latest\n"),
        "{text}"
    );
    let config = e.get("/images/made/json")?.expect(200)?.json()?["Config"].clone();
    ensure!(
        config["Entrypoint"] == json!(["cat"]) && config["Cmd"] == json!(["made"]) && config["User"] == "web",
        "{config}"
    );
    ensure!(
        config["ExposedPorts"] == json!({ "53/udp": {}, "80/tcp": {} })
            && config["Volumes"] == json!({ "/data": {} }),
        "{config}"
    );
    ensure!(config["Labels"]["a"] == "b" && config["WorkingDir"] == "/work", "{config}");
    let (_, out, err) = output(e, json!({ "Image": "made" }))?;
    ensure!(out == "two words\n0\n", "{out:?} {err:?}");
    let (_, out, _) = output(
        e,
        json!({ "Image": "made", "Entrypoint": ["sh", "-c", "stat -c %u:%g note; cat /tmp/user"] }),
    )?;
    ensure!(out == "1000:1000\n1000\n", "{out:?}");
    e.delete("/images/made")?.expect(200)?;
    Ok(())
}

fn only_changed_layers_are_rebuilt(e: &mut Engine) -> Result<()> {
    let dockerfile = "FROM busybox\nRUN echo cached-run > /first\nCOPY note /note\nRUN cat /note > /second\n";
    let first = build(e, "t=cached", &[("Dockerfile", dockerfile), ("note", "a")])?;
    ensure!(!first.contains("Using cache"), "{first}");
    let again = build(e, "t=cached", &[("Dockerfile", dockerfile), ("note", "a")])?;
    ensure!(again.matches("Using cache").count() == 3, "{again}");
    let changed = build(e, "t=cached", &[("Dockerfile", dockerfile), ("note", "b")])?;
    ensure!(changed.matches("Using cache").count() == 1, "{changed}");
    let (_, out, _) = output(e, with(shell("cat /second"), json!({ "Image": "cached" })))?;
    ensure!(out == "b");
    let fresh = build(e, "t=cached&nocache=1", &[("Dockerfile", dockerfile), ("note", "b")])?;
    ensure!(!fresh.contains("Using cache"), "{fresh}");
    e.delete("/images/cached")?.expect(200)?;
    Ok(())
}

fn stages_arguments_and_targets(e: &mut Engine) -> Result<()> {
    let dockerfile = "ARG BASE=busybox\nFROM $BASE AS one\nARG WHO=nobody\nRUN echo built for $WHO > /built\n\
        FROM ${BASE:-none} AS two\nCOPY --from=one /built /copied\nCOPY --from=0 /built /again\nFROM busybox\nRUN exit 1\n";
    let query = format!("t=staged&target=two&buildargs={}", encode(r#"{"WHO":"Ann"}"#));
    let text = build(e, &query, &[("Dockerfile", dockerfile)])?;
    ensure!(text.contains("Successfully tagged staged:latest"), "{text}");
    let (_, out, _) = output(e, with(shell("cat /copied /again; ls /built"), json!({ "Image": "staged" })))?;
    ensure!(out == "built for Ann\nbuilt for Ann\n", "{out:?}");
    e.delete("/images/staged")?.expect(200)?;
    Ok(())
}

// Which other files are ignored is the client's business: it does not send them.
fn the_dockerfile_stays_out_where_it_is_ignored(e: &mut Engine) -> Result<()> {
    let files = [
        ("Dockerfile", "FROM busybox\nCOPY . /ctx\nRUN cd /ctx && find . -type f | sort > /list\n"),
        (".dockerignore", "# comment\n*.log\n!keep.log\nsub/**/x\nDockerfile\n.dockerignore\n"),
        ("a.log", ""),
        ("keep.log", ""),
        ("b.txt", ""),
        ("sub/deep/x", ""),
        ("sub/deep/y", ""),
    ];
    build(e, "t=ignored", &files)?;
    let (_, out, _) = output(e, with(shell("cat /list"), json!({ "Image": "ignored" })))?;
    ensure!(out == "./a.log\n./b.txt\n./keep.log\n./sub/deep/x\n./sub/deep/y\n", "{out:?}");
    e.delete("/images/ignored")?.expect(200)?;
    Ok(())
}

fn an_archive_is_unpacked_by_add(e: &mut Engine) -> Result<()> {
    let inner = archive::files(&[("inside/file", "unpacked")])?;
    let mut tar = tar_builder()?;
    append(&mut tar, "Dockerfile", b"FROM busybox\nADD inner.tar /added/\nCOPY inner.tar /copied/\n")?;
    append(&mut tar, "inner.tar", &inner)?;
    e.post_tar("/build?t=added", &tar.into_inner()?)?.expect(200)?;
    let (_, out, err) =
        output(e, with(shell("cat /added/inside/file; ls /copied"), json!({ "Image": "added" })))?;
    ensure!(out == "unpackedinner.tar\n", "{out:?} {err:?}");
    e.delete("/images/added")?.expect(200)?;
    Ok(())
}

fn a_failing_step_tells_its_code(e: &mut Engine) -> Result<()> {
    let answer = e
        .post_tar("/build", &archive::files(&[("Dockerfile", "FROM busybox\nRUN echo said; exit 3\n")])?)?
        .expect(200)?;
    let lines = answer.json_lines()?;
    let last = lines.last().cloned().unwrap_or_default();
    ensure!(
        last["errorDetail"]["code"] == 3
            && last["error"] == "The command '/bin/sh -c echo said; exit 3' returned a non-zero code: 3",
        "{last}"
    );
    Ok(())
}

fn errors_point_at_the_line(e: &mut Engine) -> Result<()> {
    let refused = |text: &str| -> Result<String> {
        let answer = e.post_tar("/build", &archive::files(&[("Dockerfile", text)])?)?;
        Ok(if answer.status == 200 { answer.text() } else { answer.message() })
    };
    let text = refused("FROM busybox\n\nFORM x\n")?;
    ensure!(text.contains("dockerfile parse error on line 3: unknown instruction: FORM"), "{text}");
    let text = refused("")?;
    ensure!(
        text.contains("the Dockerfile (Dockerfile) cannot be empty")
            || text.contains("file with no instructions"),
        "{text}"
    );
    let text = refused("RUN x\n")?;
    ensure!(text.to_lowercase().contains("no build stage in current context"), "{text}");
    e.post_tar("/build?dockerfile=Other", &archive::files(&[("Dockerfile", "FROM busybox\n")])?)?
        .refuses(500, "Cannot locate specified Dockerfile: Other")
        .or_else(|_| {
            e.post_tar("/build?dockerfile=Other", &archive::files(&[("Dockerfile", "FROM busybox\n")])?)?
                .refuses(400, "Cannot locate specified Dockerfile: Other")
        })
}

fn a_compressed_context_is_taken(e: &mut Engine) -> Result<()> {
    let tar = archive::files(&[("Dockerfile", "FROM busybox\nLABEL compressed=yes\n")])?;
    let answer = e.post_tar("/build?t=compressed", &stored_gzip(&tar))?.expect(200)?;
    ensure!(answer.text().contains("Successfully tagged compressed:latest"), "{}", answer.text());
    e.delete("/images/compressed")?.expect(200)?;
    Ok(())
}

fn tar_builder() -> Result<tar::Builder<Vec<u8>>> {
    Ok(tar::Builder::new(Vec::new()))
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    Ok(tar.append_data(&mut header, name, content)?)
}

/// A gzip member (RFC 1952) of stored blocks (RFC 1951, 3.2.4).
fn stored_gzip(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(0xffff);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(data).to_le_bytes());
    out.extend_from_slice(&u32::try_from(data.len() & 0xffff_ffff).unwrap_or(0).to_le_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

fn a_stage_that_another_begins_with_is_not_listed(e: &mut Engine) -> Result<()> {
    let count = || -> Result<usize> { Ok(array(e.get("/images/json")?.expect(200)?.json()?).len()) };
    let before = count()?;
    let dockerfile =
        "FROM busybox AS first\nRUN echo first > /first\nFROM first\nRUN echo second > /second\n";
    build(e, "t=staged", &[("Dockerfile", dockerfile)])?;
    ensure!(count()? == before + 1, "{}", e.get("/images/json")?.text());
    let all = array(e.get("/images/json?all=1")?.expect(200)?.json()?);
    ensure!(all.len() > before + 1, "{all:?}");
    e.delete("/images/staged")?.expect(200)?;
    ensure!(count()? == before);
    Ok(())
}

fn layers_are_compressed(e: &mut Engine) -> Result<()> {
    build(e, "t=pressed", &[("Dockerfile", "FROM busybox\nRUN seq 1 20000 > /numbers\n")])?;
    let saved = archive::read(&e.get("/images/pressed/get")?.expect(200)?.body)?;
    let document = |name: &str| -> Result<serde_json::Value> {
        let found = saved.iter().find(|(path, _)| path.trim_start_matches("./") == name);
        Ok(serde_json::from_slice(&found.ok_or_else(|| anyhow::anyhow!("no {name}"))?.1)?)
    };
    let blob =
        |value: &serde_json::Value| format!("blobs/{}", value.as_str().unwrap_or_default().replace(':', "/"));
    let manifest = document(&blob(&document("index.json")?["manifests"][0]["digest"]))?;
    let layer = array(manifest["layers"].clone()).pop().unwrap_or_default();
    ensure!(layer["mediaType"].as_str().is_some_and(|kind| kind.ends_with("gzip")), "{layer}");
    ensure!(layer["size"].as_u64().is_some_and(|size| size < 90_000), "{layer}");
    e.delete("/images/pressed")?.expect(200)?;
    Ok(())
}
