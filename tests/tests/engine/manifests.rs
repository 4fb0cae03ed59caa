//! `manifest`: docker's command and ours against a registry of ours, with the same words and the same digests.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use corten_tests::engine::{Engine, corten_binary};

use crate::case::cases;
use crate::cli::each;

cases![Both manifest_lists_are_made_and_pushed];

/// A registry in the engine's network namespace.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(e: &Engine) -> Result<Self> {
        let root = e.dir.join("registry");
        let mut child = e.within(|| {
            Command::new(corten_binary()?)
                .args(["registry", "serve", "--listen", "127.0.0.1:0", "--access-log", "off", "--data-root"])
                .arg(&root)
                .stderr(Stdio::piped())
                .spawn()
                .map_err(anyhow::Error::from)
        })??;
        let mut log = BufReader::new(child.stderr.take().context("no log")?);
        let mut line = String::new();
        while !line.contains("the registry listens") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "the registry ended");
        }
        let address = line.trim_end().rsplit("address=").next().context("no address")?.to_owned();
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, address })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn manifest_lists_are_made_and_pushed(e: &mut Engine) -> Result<()> {
    let registry = Registry::start(e)?;
    let at = &registry.address;
    let said: RefCell<Vec<Vec<String>>> = RefCell::default();
    each(e, |run| {
        let mut words = Vec::new();
        let mut ok = |line: &str| -> Result<String> {
            let done = run(line)?;
            ensure!(done.code == 0, "{line}: {}", done.err);
            words.push(done.out.clone());
            Ok(done.out)
        };
        let (one, list) = (format!("{at}/team/one:1"), format!("{at}/team/list:1"));
        run(&format!("@ tag busybox {one} && @ push -q {one}"))?;
        let created = ok(&format!("@ manifest create --insecure {list} {one}"))?;
        ensure!(created == format!("Created manifest list {list}\n"), "{created}");
        let again = run(&format!("@ manifest create --insecure {list} {one}"))?;
        ensure!(
            again.code == 1 && again.err.contains("refusing to amend an existing manifest list"),
            "{}",
            again.err
        );
        let odd = run(&format!("@ manifest annotate --arch sparc {list} {one}"))?;
        ensure!(odd.code == 1 && odd.err.contains("unsupported os/arch combination: /sparc"), "{}", odd.err);
        ok(&format!("@ manifest annotate --arch arm64 --variant v8 --os-features a,b {list} {one}"))?;
        ok(&format!("@ manifest inspect {list} {one}"))?;
        ok(&format!("@ manifest inspect -v {list} {one}"))?;
        let shown = ok(&format!("@ manifest inspect {list}"))?;
        ensure!(
            shown.contains("\"architecture\": \"arm64\"") && shown.contains("\"variant\": \"v8\""),
            "{shown}"
        );
        let pushed = ok(&format!("@ manifest push --insecure -p {list}"))?;
        ensure!(pushed.starts_with(&format!("Pushed ref {at}/team/list@sha256:")), "{pushed}");
        ok(&format!("@ manifest inspect --insecure {list}"))?;
        ok(&format!("@ manifest inspect --insecure -v {one}"))?;
        let gone = run(&format!("@ manifest rm {list}"))?;
        ensure!(gone.code == 1 && gone.err.contains(&format!("No such manifest: {list}")), "{}", gone.err);
        let none = run(&format!("@ manifest inspect --insecure {at}/team/none:1"))?;
        ensure!(
            none.code == 1 && none.err.contains(&format!("no such manifest: {at}/team/none:1")),
            "{}",
            none.err
        );
        run(&format!("@ rmi {one}"))?;
        said.borrow_mut().push(words);
        Ok(())
    })?;
    let said = said.into_inner();
    ensure!(said.windows(2).all(|two| two[0] == two[1]), "the commands differ: {said:#?}");
    Ok(())
}
