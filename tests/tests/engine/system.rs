use anyhow::{Context as _, Result, ensure};
use corten_tests::engine::Engine;

use crate::case::{array, cases, encode, shell};

cases![
    Both ping_answers_with_dockers_headers,
    Both every_version_from_1_24_to_1_51_and_none_is_served,
    Both a_newer_version_is_refused,
    Both an_unknown_route_is_not_found,
    Both version_names_its_api,
    Both info_counts_containers,
    Both events_of_a_life_come_in_order,
    Both disk_usage_lists_what_is_there,
    CortenOnly what_is_missing_is_501_by_name,
    CortenOnly events_are_told_after_a_death_and_name_who_asked,
];

fn ping_answers_with_dockers_headers(e: &mut Engine) -> Result<()> {
    for answer in [e.get("/_ping")?, e.head("/v1.51/_ping")?] {
        ensure!(answer.status == 200);
        ensure!(answer.header("api-version") == Some("1.51"), "{:?}", answer.headers);
        ensure!(answer.header("ostype") == Some("linux"));
        ensure!(answer.header("docker-experimental") == Some("false"));
        ensure!(answer.header("cache-control") == Some("no-cache, no-store, must-revalidate"));
        ensure!(answer.header("content-type") == Some("text/plain; charset=utf-8"));
    }
    ensure!(e.get("/_ping")?.text() == "OK");
    Ok(())
}

fn every_version_from_1_24_to_1_51_and_none_is_served(e: &mut Engine) -> Result<()> {
    for minor in 24..=51 {
        e.get(&format!("/v1.{minor}/version"))?.expect(200)?;
    }
    e.get("/version")?.expect(200)?;
    Ok(())
}

fn a_newer_version_is_refused(e: &mut Engine) -> Result<()> {
    let too_new = "client version 1.99 is too new. Maximum supported API version is 1.51";
    e.get("/v1.99/version")?.refuses(400, too_new)?;
    e.get("/v1.23/version")?
        .refuses(400, "client version 1.23 is too old. Minimum supported API version is 1.24")
}

fn an_unknown_route_is_not_found(e: &mut Engine) -> Result<()> {
    e.get("/v1.51/nothing/here")?.refuses(404, "page not found")
}

fn version_names_its_api(e: &mut Engine) -> Result<()> {
    let version = e.get("/version")?.expect(200)?.json()?;
    ensure!(version["ApiVersion"] == "1.51" && version["MinAPIVersion"] == "1.24", "{version}");
    ensure!(version["Os"] == "linux" && version["Arch"] == "amd64" && version["KernelVersion"].is_string());
    ensure!(version["Components"].as_array().is_some_and(|c| !c.is_empty()));
    Ok(())
}

fn info_counts_containers(e: &mut Engine) -> Result<()> {
    let count = |e: &Engine| -> Result<[i64; 3]> {
        let info = e.get("/info")?.expect(200)?.json()?;
        Ok(["Containers", "ContainersRunning", "ContainersStopped"]
            .map(|key| info[key].as_i64().unwrap_or(-1)))
    };
    let before = count(e)?;
    let id = e.run("", shell("exec sleep 100"))?;
    ensure!(count(e)? == [before[0] + 1, before[1] + 1, before[2]]);
    e.remove(&id)?;
    ensure!(count(e)? == before);
    Ok(())
}

fn events_of_a_life_come_in_order(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("exit 3"))?;
    ensure!(e.wait(&id)? == 3);
    e.remove(&id)?;
    let filters = encode(&format!(r#"{{"container":["{id}"],"type":["container"]}}"#));
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 1;
    let events =
        e.get(&format!("/events?since=0&until={until}&filters={filters}"))?.expect(200)?.json_lines()?;
    let actions: Vec<&str> = events.iter().filter_map(|v| v["Action"].as_str()).collect();
    ensure!(actions == ["create", "start", "die", "destroy"], "{actions:?}");
    let die = &events[2];
    ensure!(
        die["Actor"]["Attributes"]["exitCode"] == "3"
            && die["Actor"]["Attributes"]["image"] == "busybox:latest",
        "{die}"
    );
    ensure!(
        die["Type"] == "container"
            && die["scope"] == "local"
            && die["timeNano"].is_i64()
            && die["status"] == "die"
    );
    Ok(())
}

fn disk_usage_lists_what_is_there(e: &mut Engine) -> Result<()> {
    let id = e.create("", shell("true"))?;
    let usage = e.get("/system/df")?.expect(200)?.json()?;
    ensure!(array(usage["Containers"].clone()).iter().any(|c| c["Id"] == id.as_str()), "{usage}");
    ensure!(array(usage["Images"].clone()).iter().any(|i| i["RepoTags"][0] == "busybox:latest"), "{usage}");
    ensure!(usage["LayersSize"].is_i64());
    e.remove(&id)
}

fn what_is_missing_is_501_by_name(e: &mut Engine) -> Result<()> {
    for (path, word) in [("/swarm", "swarm"), ("/plugins/privileges?remote=x", "plugin")] {
        let answer = e.get(path)?.expect(501)?;
        ensure!(answer.message().to_lowercase().contains(word), "{path}: {}", answer.message());
    }
    Ok(())
}

fn events_are_told_after_a_death_and_name_who_asked(e: &mut Engine) -> Result<()> {
    let id = e.run("", shell("sleep 600"))?;
    let filters = encode(&format!(r#"{{"container":["{id}"]}}"#));
    let told = |e: &Engine| -> Result<Vec<serde_json::Value>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 1;
        e.get(&format!("/events?since=0&until={now}&filters={filters}"))?.expect(200)?.json_lines()
    };
    e.kill_and_restart()?;
    e.remove(&id)?;
    let events = told(e)?;
    let actions: Vec<&str> = events.iter().filter_map(|event| event["Action"].as_str()).collect();
    ensure!(actions == ["create", "start", "kill", "die", "destroy"], "{actions:?}");
    for action in ["create", "start", "kill", "destroy"] {
        let event = events.iter().find(|event| event["Action"] == action);
        let attributes = &event.context("the event")?["Actor"]["Attributes"];
        let (uid, pid) = (&attributes["actor.uid"], &attributes["actor.pid"]);
        ensure!(uid == "0" && pid == std::process::id().to_string().as_str(), "{action}: {attributes}");
    }
    Ok(())
}
