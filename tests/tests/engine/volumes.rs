use anyhow::{Result, ensure};
use corten_tests::engine::Engine;
use serde_json::json;

use crate::case::{array, cases, encode, output, shell, with};

cases![
    Both a_named_volume_keeps_its_content,
    Both an_empty_volume_takes_the_images_content,
    Both an_anonymous_volume_goes_with_its_container,
    Both binds_are_read_only_on_request,
    Both volumes_are_taken_from_another_container,
    Both a_volume_in_use_is_not_removed,
    Both prune_spares_named_volumes,
    Both list_filters,
    Both a_subpath_of_a_volume_is_mounted,
    Both a_subpath_stays_inside_the_volume,
    Both an_image_is_mounted_read_only,
    Both modes_are_shown_as_docker_does,
];

fn a_named_volume_keeps_its_content(e: &mut Engine) -> Result<()> {
    let volume = e
        .post_json("/volumes/create", json!({ "Name": "kept", "Labels": { "a": "b" } }))?
        .expect(201)?
        .json()?;
    ensure!(
        volume["Driver"] == "local" && volume["Scope"] == "local" && volume["Labels"]["a"] == "b",
        "{volume}"
    );
    let on = |script: &str| with(shell(script), json!({ "HostConfig": { "Binds": ["kept:/data"] } }));
    output(e, on("echo steel > /data/file"))?;
    let (_, out, _) = output(e, on("cat /data/file"))?;
    ensure!(out == "steel\n", "{out:?}");
    ensure!(e.get("/volumes/kept")?.expect(200)?.json()?["Name"] == "kept");
    e.delete("/volumes/kept")?.expect(204)?;
    e.get("/volumes/kept")?.refuses(404, "get kept: no such volume")
}

fn an_empty_volume_takes_the_images_content(e: &mut Engine) -> Result<()> {
    let body = with(
        shell("cat /etc/group | head -n 1; stat -c %a /etc"),
        json!({ "HostConfig": { "Mounts": [{ "Type": "volume", "Source": "filled", "Target": "/etc" }] } }),
    );
    let (_, out, err) = output(e, body)?;
    ensure!(out == "root:x:0:\n755\n", "{out:?} {err:?}");
    e.delete("/volumes/filled")?.expect(204)?;
    Ok(())
}

fn an_anonymous_volume_goes_with_its_container(e: &mut Engine) -> Result<()> {
    let id = e.create("", with(shell("true"), json!({ "Volumes": { "/data": {} } })))?;
    let mount = e.get(&format!("/containers/{id}/json"))?.json()?["Mounts"][0].clone();
    let name = mount["Name"].as_str().unwrap_or_default().to_owned();
    ensure!(name.len() == 64 && mount["Type"] == "volume" && mount["Driver"] == "local", "{mount}");
    e.get(&format!("/volumes/{name}"))?.expect(200)?;
    e.delete(&format!("/containers/{id}?v=1"))?.expect(204)?;
    e.get(&format!("/volumes/{name}"))?.expect(404)?;
    Ok(())
}

fn binds_are_read_only_on_request(e: &mut Engine) -> Result<()> {
    let dir = e.dir.join("shared");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("in"), "from the host\n")?;
    let body = with(
        shell("cat /mnt/in; echo x > /mnt/out; echo y > /ro/out"),
        json!({ "HostConfig": { "Binds": [format!("{}:/mnt", dir.display()), format!("{}:/ro:ro", dir.display())] } }),
    );
    let (_, out, err) = output(e, body)?;
    ensure!(out == "from the host\n" && err.contains("/ro/out: Read-only file system"), "{out:?} {err:?}");
    ensure!(std::fs::read_to_string(dir.join("out"))? == "x\n");
    let missing =
        json!({ "HostConfig": { "Mounts": [{ "Type": "bind", "Source": "/none/such", "Target": "/mnt" }] } });
    e.post_json("/containers/create", with(shell("true"), missing))?
        .refuses(400, "bind source path does not exist: /none/such")
}

fn volumes_are_taken_from_another_container(e: &mut Engine) -> Result<()> {
    let first =
        e.create("giver", with(shell("true"), json!({ "HostConfig": { "Binds": ["given:/data"] } })))?;
    let (_, out, err) = output(
        e,
        with(shell("mount | grep -c ' /data '"), json!({ "HostConfig": { "VolumesFrom": ["giver:ro"] } })),
    )?;
    ensure!(out == "1\n", "{out:?} {err:?}");
    e.remove(&first)?;
    e.delete("/volumes/given")?.expect(204)?;
    Ok(())
}

fn a_volume_in_use_is_not_removed(e: &mut Engine) -> Result<()> {
    let id = e.create("", with(shell("true"), json!({ "HostConfig": { "Binds": ["used:/data"] } })))?;
    e.delete("/volumes/used")?.refuses(409, &format!("remove used: volume is in use - [{id}]"))?;
    e.remove(&id)?;
    e.delete("/volumes/used")?.expect(204)?;
    Ok(())
}

fn prune_spares_named_volumes(e: &mut Engine) -> Result<()> {
    e.post_json("/volumes/create", json!({ "Name": "named" }))?.expect(201)?;
    let anonymous = e.post_json("/volumes/create", json!({}))?.expect(201)?.json()?["Name"].clone();
    let pruned = e.post("/volumes/prune")?.expect(200)?.json()?;
    let pruned = array(pruned["VolumesDeleted"].clone());
    ensure!(pruned.contains(&anonymous) && !pruned.contains(&json!("named")), "{pruned:?}");
    e.delete("/volumes/named")?.expect(204)?;
    Ok(())
}

fn list_filters(e: &mut Engine) -> Result<()> {
    e.post_json("/volumes/create", json!({ "Name": "listed-a", "Labels": { "kind": "x" } }))?.expect(201)?;
    e.post_json("/volumes/create", json!({ "Name": "listed-b" }))?.expect(201)?;
    let names = |filters: &str| -> Result<Vec<String>> {
        let list = e.get(&format!("/volumes?filters={}", encode(filters)))?.expect(200)?.json()?;
        let mut names: Vec<String> = array(list["Volumes"].clone())
            .iter()
            .filter_map(|v| v["Name"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    };
    ensure!(names(r#"{"name":["listed"]}"#)? == ["listed-a", "listed-b"]);
    ensure!(names(r#"{"label":["kind=x"]}"#)? == ["listed-a"]);
    ensure!(names(r#"{"dangling":["true"],"name":["listed-b"]}"#)? == ["listed-b"]);
    for name in ["listed-a", "listed-b"] {
        e.delete(&format!("/volumes/{name}"))?.expect(204)?;
    }
    Ok(())
}

fn subpath(volume: &str, subpath: &str) -> serde_json::Value {
    json!({ "HostConfig": { "Mounts": [
        { "Type": "volume", "Source": volume, "Target": "/mnt", "VolumeOptions": { "Subpath": subpath } }
    ] } })
}

fn a_subpath_of_a_volume_is_mounted(e: &mut Engine) -> Result<()> {
    let whole = json!({ "HostConfig": { "Binds": ["parts:/all"] } });
    output(
        e,
        with(shell("mkdir -p /all/a/b; echo deep > /all/a/b/file; ln -s a/b /all/link"), whole.clone()),
    )?;
    let (_, out, err) =
        output(e, with(shell("cat /mnt/file; echo new > /mnt/other"), subpath("parts", "a/b")))?;
    ensure!(out == "deep\n", "{out:?} {err:?}");
    let (_, out, err) = output(e, with(shell("cat /mnt"), subpath("parts", "link/other")))?;
    ensure!(out == "new\n", "{out:?} {err:?}");
    let (_, out, _) = output(e, with(shell("cat /all/a/b/file"), whole))?;
    ensure!(out == "deep\n", "{out:?}");
    e.delete("/volumes/parts")?.expect(204)?;
    Ok(())
}

fn a_subpath_stays_inside_the_volume(e: &mut Engine) -> Result<()> {
    let whole = json!({ "HostConfig": { "Binds": ["walls:/all"] } });
    output(e, with(shell("ln -s / /all/root; ln -s ../../.. /all/up"), whole))?;
    for (path, status, text) in [
        ("root", 400, "path concatenation escapes the base directory"),
        ("up", 400, "path concatenation escapes the base directory"),
        ("none", 404, "cannot access path"),
    ] {
        let id = e.create("", with(shell("ls /mnt"), subpath("walls", path)))?;
        e.post(&format!("/containers/{id}/start"))?.refuses(status, text)?;
        e.remove(&id)?;
    }
    e.post_json("/containers/create", with(shell("true"), subpath("walls", "../x")))?
        .refuses(400, "subpath must be a relative path within the volume")?;
    e.delete("/volumes/walls")?.expect(204)?;
    Ok(())
}

fn an_image_is_mounted_read_only(e: &mut Engine) -> Result<()> {
    let mount = |options: serde_json::Value| {
        json!({ "HostConfig": { "Mounts": [
            { "Type": "image", "Source": "busybox", "Target": "/img", "ImageOptions": options }
        ] } })
    };
    let body = with(shell("ls /img/bin/sh; echo x > /img/new"), mount(json!({})));
    let id = e.create("", body)?;
    let shown = e.get(&format!("/containers/{id}/json"))?.json()?["Mounts"][0].clone();
    ensure!(shown["Type"] == "image" && shown["RW"] == false && shown["Name"] == "busybox", "{shown}");
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    e.wait(&id)?;
    let (out, err) = e.logs(&id)?;
    ensure!(out == "/img/bin/sh\n" && err.contains("Read-only file system"), "{out:?} {err:?}");
    // Again, as a mount of before must not be in the way.
    e.post(&format!("/containers/{id}/start"))?.expect(204)?;
    e.wait(&id)?;
    e.remove(&id)?;
    let (_, out, err) = output(e, with(shell("ls /img/group"), mount(json!({ "Subpath": "etc" }))))?;
    ensure!(out == "/img/group\n", "{out:?} {err:?}");
    Ok(())
}

fn modes_are_shown_as_docker_does(e: &mut Engine) -> Result<()> {
    let body = with(
        json!({ "Image": "busybox", "Volumes": { "/plain": {} } }),
        json!({ "HostConfig": {
            "Binds": ["shown:/named", "shown:/read:ro"],
            "Mounts": [{ "Type": "volume", "Target": "/long" }],
        } }),
    );
    let id = e.create("", body)?;
    let mounts = array(e.get(&format!("/containers/{id}/json"))?.expect(200)?.json()?["Mounts"].clone());
    let mut modes: Vec<_> = mounts.iter().map(|m| (m["Destination"].clone(), m["Mode"].clone())).collect();
    modes.sort_by_key(|(destination, _)| destination.to_string());
    let wanted = [("/long", "z"), ("/named", "z"), ("/plain", ""), ("/read", "ro")];
    ensure!(modes == wanted.map(|(destination, mode)| (json!(destination), json!(mode))), "{modes:?}");
    e.delete(&format!("/containers/{id}?v=1"))?.expect(204)?;
    e.delete("/volumes/shown")?.expect(204)?;
    Ok(())
}
