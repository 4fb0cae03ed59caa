//! Archives that the cases send: a base image, build contexts.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The applets that the cases call; all are links to one busybox.
const APPLETS: &str = "sh ash cat echo ls sleep true false id env ps wget httpd nc nslookup mkdir rm touch stat mount \
    grep head tail sed printf kill dd yes seq test hostname ip ping chmod chown cp mv ln pwd date tr wc sort uname stty \
    readlink sync sha256sum adduser df du find expr timeout trap cut";

/// A root file system with a static busybox, as a tar.
pub fn base() -> Result<Vec<u8>> {
    let busybox = std::fs::read(busybox()?)?;
    let mut tar = tar::Builder::new(Vec::new());
    for (dir, mode) in
        [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("home", 0o755), ("var", 0o755)]
    {
        directory(&mut tar, dir, mode)?;
    }
    file(&mut tar, "bin/busybox", 0o755, &busybox)?;
    for applet in APPLETS.split_whitespace() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    file(&mut tar, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home:/bin/sh\n")?;
    file(&mut tar, "etc/group", 0o644, b"root:x:0:\nweb:x:1000:\nextra:x:2000:web\n")?;
    Ok(tar.into_inner()?)
}

/// A tar of files with mode 0644, or 0755 where the content starts with `#!`.
pub fn files(files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
        file(&mut tar, name, mode, content.as_bytes())?;
    }
    Ok(tar.into_inner()?)
}

/// The names and contents of the regular files in a tar.
pub fn read(tar: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content)?;
            found.push((entry.path()?.to_string_lossy().into_owned(), content));
        }
    }
    Ok(found)
}

fn busybox() -> Result<PathBuf> {
    std::env::var_os("CORTEN_BUSYBOX")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from("/bin/busybox")).filter(|p| p.exists()))
        .context("no static busybox: run the tests by `make test`, or set CORTEN_BUSYBOX")
}

fn directory(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(mode);
    Ok(tar.append_data(&mut header, format!("{name}/"), std::io::empty())?)
}

fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    Ok(tar.append_data(&mut header, name, content)?)
}
