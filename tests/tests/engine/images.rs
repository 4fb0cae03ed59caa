use anyhow::{Context, Result, ensure};
use corten_tests::archive;
use corten_tests::engine::Engine;
use serde_json::json;

use crate::case::{array, cases, encode, output, shell, with};

cases![
    Both inspect_and_list_agree,
    Both tags_are_made_and_taken_away,
    Both history_names_the_import,
    Both a_saved_image_loads_again_with_the_same_id,
    Both commit_keeps_the_writable_layer,
    Both an_image_in_use_is_not_removed,
    Both dangling_images_are_pruned,
    Both an_unknown_image_is_not_found,
    Both an_import_takes_changes,
];

fn id_of(e: &Engine, name: &str) -> Result<String> {
    Ok(e.get(&format!("/images/{name}/json"))?.expect(200)?.json()?["Id"]
        .as_str()
        .context("no Id")?
        .to_owned())
}

fn inspect_and_list_agree(e: &mut Engine) -> Result<()> {
    let image = e.get("/images/busybox/json")?.expect(200)?.json()?;
    ensure!(
        image["RepoTags"] == json!(["busybox:latest"])
            && image["Os"] == "linux"
            && image["Architecture"] == "amd64",
        "{image}"
    );
    ensure!(image["Config"]["Cmd"] == json!(["sh"]) && image["RootFS"]["Type"] == "layers", "{image}");
    ensure!(image["Descriptor"]["digest"] == image["Id"], "{image}");
    let listed = array(e.get("/images/json")?.expect(200)?.json()?);
    let entry = listed.iter().find(|i| i["RepoTags"][0] == "busybox:latest").context("not listed")?;
    ensure!(
        entry["Id"] == image["Id"] && entry["Containers"].is_i64() && entry["SharedSize"] == -1,
        "{entry}"
    );
    ensure!(entry["Size"].as_i64().is_some_and(|n| n > 1_000_000), "{entry}");
    ensure!(
        array(e.get(&format!("/images/json?filters={}", encode(r#"{"reference":["busy*"]}"#)))?.json()?)
            .len()
            == 1
    );
    ensure!(
        array(e.get(&format!("/images/json?filters={}", encode(r#"{"reference":["other*"]}"#)))?.json()?)
            .is_empty()
    );
    Ok(())
}

fn tags_are_made_and_taken_away(e: &mut Engine) -> Result<()> {
    e.post("/images/busybox/tag?repo=localhost:5000/team/app&tag=1.0")?.expect(201)?;
    ensure!(id_of(e, "localhost:5000/team/app:1.0")? == id_of(e, "busybox")?);
    let deleted = e.delete("/images/localhost:5000/team/app:1.0")?.expect(200)?.json()?;
    ensure!(deleted == json!([{ "Untagged": "localhost:5000/team/app:1.0" }]), "{deleted}");
    e.get("/images/localhost:5000/team/app:1.0/json")?.expect(404)?;
    e.post("/images/busybox/tag?repo=UPPER&tag=x")?.refuses(400, "invalid reference format")?;
    e.get("/images/busybox/json")?.expect(200)?;
    Ok(())
}

fn history_names_the_import(e: &mut Engine) -> Result<()> {
    let history = array(e.get("/images/busybox/history")?.expect(200)?.json()?);
    ensure!(history.len() == 1 && history[0]["Tags"] == json!(["busybox:latest"]), "{history:?}");
    ensure!(history[0]["Comment"].as_str().is_some_and(|c| c.starts_with("Imported from ")), "{history:?}");
    Ok(())
}

fn a_saved_image_loads_again_with_the_same_id(e: &mut Engine) -> Result<()> {
    let context = archive::files(&[("Dockerfile", "FROM busybox\nRUN echo unique-for-save > /saved\n")])?;
    e.post_tar("/build?t=saved:1", &context)?.expect(200)?;
    let id = id_of(e, "saved:1")?;
    let tar = e.get("/images/saved:1/get")?.expect(200)?.body;
    let names: Vec<String> = archive::read(&tar)?.into_iter().map(|(name, _)| name).collect();
    ensure!(
        names.iter().any(|n| n == "manifest.json")
            && names.iter().any(|n| n == "index.json")
            && names.iter().any(|n| n == "oci-layout"),
        "{names:?}"
    );
    e.delete("/images/saved:1")?.expect(200)?;
    let answer = e.post_tar("/images/load", &tar)?.expect(200)?;
    ensure!(answer.text().contains("Loaded image: saved:1"), "{}", answer.text());
    ensure!(id_of(e, "saved:1")? == id);
    let (_, out, _) = output(e, with(shell("cat /saved"), json!({ "Image": "saved:1" })))?;
    ensure!(out == "unique-for-save\n");
    e.delete("/images/saved:1")?.expect(200)?;
    Ok(())
}

fn commit_keeps_the_writable_layer(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("echo kept > /file; rm /etc/group"))?;
    e.wait(&id)?;
    let query = format!(
        "/commit?container={id}&repo=committed&tag=1&author=Ann&comment=why&changes={}",
        encode("ENV A=b")
    );
    e.post_json(&query, json!({}))?.expect(201)?;
    let image = e.get("/images/committed:1/json")?.expect(200)?.json()?;
    ensure!(image["Parent"] == e.get("/images/busybox/json")?.json()?["Id"], "{}", image["Parent"]);
    ensure!(
        image["Author"] == "Ann"
            && image["Comment"] == "why"
            && image["RootFS"]["Layers"].as_array().map(Vec::len) == Some(2),
        "{image}"
    );
    let (_, out, _) =
        output(e, with(shell("cat /file; echo $A; ls /etc"), json!({ "Image": "committed:1" })))?;
    ensure!(out.starts_with("kept\nb\n") && !out.contains("group"), "{out:?}");
    e.remove(&id)?;
    e.delete("/images/committed:1")?.expect(200)?;
    Ok(())
}

fn an_image_in_use_is_not_removed(e: &mut Engine) -> Result<()> {
    let context = archive::files(&[("Dockerfile", "FROM busybox\nRUN echo in-use > /x\n")])?;
    e.post_tar("/build?t=in-use", &context)?.expect(200)?;
    let id = e.create("", with(shell("true"), json!({ "Image": "in-use" })))?;
    let answer = e.delete("/images/in-use")?.expect(409)?;
    ensure!(
        answer.message().contains("conflict: unable to delete in-use:latest (must be forced)")
            || answer.message().contains("image is being used by stopped container"),
        "{}",
        answer.message()
    );
    e.remove(&id)?;
    e.delete("/images/in-use")?.expect(200)?;
    Ok(())
}

fn dangling_images_are_pruned(e: &mut Engine) -> Result<()> {
    for text in ["one", "two"] {
        let context = archive::files(&[("Dockerfile", &format!("FROM busybox\nLABEL v={text}\n"))])?;
        e.post_tar("/build?t=moved", &context)?.expect(200)?;
    }
    let dangling = array(
        e.get(&format!("/images/json?filters={}", encode(r#"{"dangling":["true"]}"#)))?
            .expect(200)?
            .json()?,
    );
    ensure!(!dangling.is_empty());
    let pruned = e.post("/images/prune")?.expect(200)?.json()?;
    ensure!(
        !array(pruned["ImagesDeleted"].clone()).is_empty() && pruned["SpaceReclaimed"].is_i64(),
        "{pruned}"
    );
    e.delete("/images/moved")?.expect(200)?;
    Ok(())
}

fn an_unknown_image_is_not_found(e: &mut Engine) -> Result<()> {
    e.get("/images/none-such/json")?.refuses(404, "No such image: none-such")?;
    e.delete("/images/none-such")?.refuses(404, "No such image: none-such")?;
    e.post_json("/containers/create", json!({ "Image": "none-such", "Cmd": ["true"] }))?
        .refuses(404, "No such image: none-such:latest")
}

fn an_import_takes_changes(e: &mut Engine) -> Result<()> {
    let tar = archive::files(&[("file", "x")])?;
    let query = format!(
        "/images/create?fromSrc=-&repo=imported&changes={}&message=hello",
        encode("ENTRYPOINT [\"/bin/x\"]")
    );
    e.post_tar(&query, &tar)?.expect(200)?;
    let image = e.get("/images/imported/json")?.expect(200)?.json()?;
    ensure!(image["Config"]["Entrypoint"] == json!(["/bin/x"]) && image["Comment"] == "hello", "{image}");
    e.delete("/images/imported")?.expect(200)?;
    Ok(())
}
