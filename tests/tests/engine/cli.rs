//! The unmodified docker command where there is one, and ours: the same lines, the same output, the same exit codes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use corten_tests::engine::{Engine, Which, corten_binary, docker_binary};

use crate::case::cases;

cases![
    Both version_and_info_answer,
    Both run_gives_output_and_exit_code,
    Both a_life_in_commands,
    Both formats_and_columns,
    Both errors_and_their_codes,
    Both build_run_and_see,
    Both copy_in_and_out,
    Both volumes_and_networks,
];

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `line` with every command line tool that fits the engine: docker's against both, ours against ours.
pub fn each(e: &Engine, body: impl Fn(&dyn Fn(&str) -> Result<Done>) -> Result<()>) -> Result<()> {
    let mut tools: Vec<PathBuf> = docker_binary().into_iter().collect();
    if e.which == Which::Corten {
        tools.push(corten_binary()?);
    }
    for tool in tools {
        let run = |line: &str| run(e, &tool, line);
        body(&run).with_context(|| format!("with {}", tool.display()))?;
    }
    Ok(())
}

/// Runs one line through a shell in which `@` stands for the tool.
fn run(e: &Engine, tool: &std::path::Path, line: &str) -> Result<Done> {
    let line = line.replace('@', &tool.to_string_lossy());
    let output = e.within(|| {
        Command::new("sh")
            .args(["-c", &line])
            .env("DOCKER_HOST", format!("unix://{}", e.socket().display()))
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_CONFIG", e.dir.join("config"))
            .env("HOME", &e.dir)
            .current_dir(&e.dir)
            .stdin(Stdio::null())
            .output()
    })??;
    Ok(Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn version_and_info_answer(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        let done = run("@ version --format '{{.Server.APIVersion}} {{.Client.Os}}'")?;
        ensure!(done.out == "1.51 linux\n" && done.code == 0, "{done:?}");
        let done = run("@ info --format '{{.Driver}} {{.OSType}}'")?;
        ensure!(done.out == "overlayfs linux\n" && done.code == 0, "{done:?}");
        Ok(())
    })
}

fn run_gives_output_and_exit_code(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        let done = run("@ run --rm -e A=b -w /tmp busybox sh -c 'echo $A; pwd; echo err >&2; exit 3'")?;
        ensure!((done.code, done.out.as_str(), done.err.as_str()) == (3, "b\n/tmp\n", "err\n"), "{done:?}");
        let done = run("echo typed | @ run --rm -i busybox cat")?;
        ensure!((done.code, done.out.as_str()) == (0, "typed\n"), "{done:?}");
        let done = run("@ run --rm busybox none-such")?;
        ensure!(done.code == 127 && done.err.contains("executable file not found in $PATH"), "{done:?}");
        let done = run("@ run --rm busybox /etc/passwd")?;
        ensure!(done.code == 126 && done.err.contains("permission denied"), "{done:?}");
        let done = run("@ run --rm --init busybox sh -c 'kill -9 $$'")?;
        ensure!(done.code == 137, "{done:?}");
        let done = run("@ run --bogus busybox true")?;
        ensure!(done.code == 125 && done.err.contains("unknown flag: --bogus"), "{done:?}");
        Ok(())
    })
}

fn a_life_in_commands(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        let done = run("@ run -d --name life -p 127.0.0.1::80 busybox sh -c 'echo up; exec sleep 1000'")?;
        ensure!(done.code == 0 && done.out.trim().len() == 64, "{done:?}");
        let done = run("@ ps --filter name=life --format '{{.Names}} {{.Image}} {{.State}}'")?;
        ensure!(done.out == "life busybox running\n", "{done:?}");
        ensure!(run("@ port life 80/tcp")?.out.starts_with("127.0.0.1:"));
        ensure!(run("@ exec life echo inside")?.out == "inside\n");
        ensure!(run("@ exec life sh -c 'exit 4'")?.code == 4);
        ensure!(run("@ pause life")?.out == "life\n");
        ensure!(run("@ unpause life")?.out == "life\n");
        ensure!(run("@ rename life live && @ rename live life")?.code == 0);
        ensure!(run("@ top life")?.out.contains("sleep 1000"));
        ensure!(run("@ stats --no-stream --format '{{.Name}}' life")?.out == "life\n");
        ensure!(run("@ update --memory 64m --memory-swap 64m life")?.out == "life\n");
        ensure!(run("@ logs life")?.out == "up\n");
        ensure!(run("@ stop -t 0 life")?.out == "life\n");
        ensure!(run("@ wait life")?.out == "137\n");
        ensure!(run("@ start life")?.out == "life\n");
        ensure!(run("@ kill life")?.out == "life\n");
        ensure!(
            run("@ inspect --format '{{.State.Status}} {{.State.ExitCode}}' life")?.out == "exited 137\n"
        );
        ensure!(run("@ diff life")?.code == 0);
        ensure!(run("@ rm life")?.out == "life\n");
        Ok(())
    })
}

fn formats_and_columns(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        run("@ create --name shown --label a=b busybox true")?;
        let done = run("@ ps -a --filter name=shown")?;
        let head = done.out.lines().next().unwrap_or_default();
        ensure!(
            head.split("  ").filter(|w| !w.is_empty()).map(str::trim).eq([
                "CONTAINER ID",
                "IMAGE",
                "COMMAND",
                "CREATED",
                "STATUS",
                "PORTS",
                "NAMES"
            ]),
            "{head:?}"
        );
        ensure!(done.out.contains("busybox   \"true\"") && done.out.contains("Created"), "{}", done.out);
        let done = run("@ ps -a --filter name=shown --format 'table {{.Names}}\\t{{.Label \"a\"}}'")?;
        ensure!(done.out == "NAMES     a\nshown     b\n", "{:?}", done.out);
        let done = run("@ ps -a --filter name=shown --format '{{json .Names}} {{upper .State}}'")?;
        ensure!(done.out == "\"shown\" CREATED\n", "{:?}", done.out);
        let done =
            run("@ inspect -f '{{.Config.Labels}} {{len .Mounts}} {{range .Args}}{{.}}{{end}}' shown")?;
        ensure!(done.out == "map[a:b] 0 \n", "{:?}", done.out);
        let head = run("@ images")?.out.lines().next().unwrap_or_default().to_owned();
        ensure!(
            head.split_whitespace().eq(["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]),
            "{head:?}"
        );
        ensure!(run("@ rm shown")?.code == 0);
        Ok(())
    })
}

fn errors_and_their_codes(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        let done = run("@ inspect none-such")?;
        ensure!(
            done.code == 1
                && done.out == "[]\n"
                && done.err.to_lowercase().contains("no such object: none-such"),
            "{done:?}"
        );
        let done = run("@ rm none-such")?;
        ensure!(
            done.code == 1 && done.err.contains("Error response from daemon: No such container: none-such"),
            "{done:?}"
        );
        let done = run("@ start none-such")?;
        ensure!(done.code == 1 && done.err.contains("No such container: none-such"), "{done:?}");
        let done = run("@ no-such-command")?;
        ensure!(done.code != 0 && done.err.contains("no-such-command"), "{done:?}");
        let done = run("@ run")?;
        ensure!(done.code != 0 && done.err.contains("requires at least 1 argument"), "{done:?}");
        let done = run("DOCKER_HOST=unix:///none/such.sock @ ps")?;
        ensure!(done.code == 1 && done.err.contains("/none/such.sock"), "{done:?}");
        Ok(())
    })
}

fn build_run_and_see(e: &mut Engine) -> Result<()> {
    let dir = e.dir.join("ctx");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(
        dir.join("Dockerfile"),
        "FROM busybox\nCOPY . /all/\nCOPY page /page\nRUN cat /page > /built\nCMD [\"cat\", \"/built\"]\n",
    )?;
    std::fs::write(dir.join(".dockerignore"), "*.log\n!keep.log\n.dockerignore\n")?;
    std::fs::write(dir.join("a.log"), "")?;
    std::fs::write(dir.join("keep.log"), "")?;
    each(e, |run| {
        std::fs::write(e.dir.join("ctx/page"), "first\n")?;
        let done = run("@ build -t seen ctx")?;
        ensure!(done.code == 0, "{done:?}");
        ensure!(run("@ run --rm seen")?.out == "first\n");
        let done = run("@ run --rm seen ls /all")?;
        ensure!(done.out == "Dockerfile\nkeep.log\npage\n", "{done:?}");
        std::fs::write(e.dir.join("ctx/page"), "second\n")?;
        ensure!(run("@ build -q -t seen ctx")?.out.starts_with("sha256:"));
        ensure!(run("@ run --rm seen")?.out == "second\n");
        ensure!(run("@ history -q seen")?.out.lines().count() == 5);
        ensure!(run("@ tag seen other:1 && @ rmi other:1")?.out == "Untagged: other:1\n");
        ensure!(
            run("@ save seen -o seen.tar && @ rmi seen && @ load -i seen.tar")?
                .out
                .contains("Loaded image: seen:latest")
        );
        ensure!(run("@ rmi seen")?.code == 0);
        let done = run("printf 'FROM busybox\\nRUN exit 5\\n' | @ build -")?;
        ensure!(done.code != 0 && done.err.contains('5'), "{done:?}");
        Ok(())
    })
}

fn copy_in_and_out(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        run("@ create --name copied busybox true")?;
        std::fs::write(e.dir.join("local"), "by hand\n")?;
        let done = run(
            "@ cp local copied:/tmp/there && @ cp copied:/tmp/there back && cat back && @ cp copied:/tmp/there - | tar -xOf -",
        )?;
        ensure!(done.code == 0 && done.out == "by hand\nby hand\n", "{done:?}");
        let done = run("@ cp copied:/none x")?;
        ensure!(
            done.code == 1 && done.err.contains("Could not find the file /none in container copied"),
            "{done:?}"
        );
        ensure!(run("@ rm copied")?.code == 0);
        Ok(())
    })
}

fn volumes_and_networks(e: &mut Engine) -> Result<()> {
    each(e, |run| {
        ensure!(run("@ volume create vol")?.out == "vol\n");
        ensure!(run("@ run --rm -v vol:/data busybox sh -c 'echo kept > /data/x'")?.code == 0);
        ensure!(
            run("@ run --rm --mount type=volume,src=vol,dst=/data,readonly busybox cat /data/x")?.out
                == "kept\n"
        );
        ensure!(run("@ volume ls -q --filter name=vol")?.out == "vol\n");
        ensure!(run("@ volume rm vol")?.out == "vol\n");
        ensure!(run("@ network create --subnet 10.80.0.0/24 net")?.out.trim().len() == 64);
        ensure!(
            run("@ network ls --filter name=net --format '{{.Name}} {{.Driver}}'")?.out == "net bridge\n"
        );
        ensure!(
            run("@ run --rm --network net --ip 10.80.0.9 busybox ip -o -4 addr show eth0")?
                .out
                .contains("10.80.0.9/24")
        );
        ensure!(run("@ network inspect -f '{{(index .IPAM.Config 0).Subnet}}' net")?.out == "10.80.0.0/24\n");
        ensure!(run("@ network rm net")?.out == "net\n");
        Ok(())
    })
}
