//! A made-up vendor's devices.

use super::*;
use corten_runtime::spec::Process;

const YAML: &str = r#"
cdiVersion: "0.6.0"
kind: corten.test/gadget
containerEdits:
  env: ["GADGETS=yes"]
devices:
  - name: one
    containerEdits:
      env: ["GADGET=one"]
      deviceNodes:
        - path: /dev/gadget
          hostPath: /dev/null
          permissions: rw
      mounts:
        - hostPath: /usr/share
          containerPath: /opt/gadget
          options: [ro]
      hooks:
        - hookName: createContainer
          path: /bin/true
          args: ["true", "x"]
  - name: two
    containerEdits:
      additionalGids: [44]
"#;

fn gpus() -> String {
    let devices: Vec<_> = ["0", "1", "all"]
        .iter()
        .map(|name| serde_json::json!({ "name": name, "containerEdits": { "env": [format!("GPU={name}")] } }))
        .collect();
    serde_json::json!({ "cdiVersion": "0.5.0", "kind": "acme.com/gpu", "devices": devices }).to_string()
}

fn registry() -> Registry {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gadget.yaml"), YAML).unwrap();
    std::fs::write(dir.path().join("gpu.json"), gpus()).unwrap();
    std::fs::write(dir.path().join("broken.json"), "{").unwrap();
    Registry::read(&[dir.path().to_owned(), dir.path().join("none")])
}

fn named(ids: &[&str]) -> DeviceRequest {
    let device_ids = Some(ids.iter().map(|&id| id.to_owned()).collect());
    DeviceRequest { driver: "cdi".into(), device_ids, ..DeviceRequest::default() }
}

fn injected(requests: &[DeviceRequest]) -> Result<Spec, String> {
    let mut spec = Spec { process: Some(Process::default()), ..Spec::default() };
    registry().inject(requests, &mut spec).map_err(|error| error.to_string())?;
    Ok(spec)
}

#[test]
fn a_device_is_its_nodes_mounts_variables_and_hooks() {
    let spec = injected(&[named(&["corten.test/gadget=one", "corten.test/gadget=two"])]).unwrap();
    let process = spec.process.unwrap();
    assert_eq!(process.env, ["GADGETS=yes", "GADGET=one"]);
    assert_eq!(process.user.additional_gids, [44]);
    let linux = spec.linux.unwrap();
    let node = &linux.devices[0];
    assert_eq!((node.path.as_str(), node.kind.as_str(), node.major, node.minor), ("/dev/gadget", "c", 1, 3));
    let rule = &linux.resources.unwrap().devices[0];
    assert_eq!((rule.allow, rule.major, rule.access.as_str()), (true, Some(1), "rw"));
    assert_eq!(spec.mounts[0].options, ["rbind", "ro"]);
    assert_eq!(spec.hooks.unwrap().create_container[0].args, ["true", "x"]);
}

#[test]
fn gpus_are_chosen_by_number_by_name_or_all() {
    let gpus = |count: i64, ids: &[&str]| {
        let device_ids = Some(ids.iter().map(|&id| id.to_owned()).collect());
        let capabilities = Some(vec![vec!["gpu".to_owned()]]);
        let request = DeviceRequest { count, device_ids, capabilities, ..DeviceRequest::default() };
        injected(&[request]).map(|spec| spec.process.unwrap().env)
    };
    assert_eq!(gpus(-1, &[]).unwrap(), ["GPU=all"]);
    assert_eq!(gpus(1, &[]).unwrap(), ["GPU=0"]);
    assert_eq!(gpus(0, &["1"]).unwrap(), ["GPU=1"]);
    assert_eq!(
        gpus(3, &[]).unwrap_err(),
        "CDI device injection failed: unresolvable CDI devices acme.com/gpu=2"
    );
}

#[test]
fn refusals_have_dockers_texts() {
    assert_eq!(
        injected(&[named(&["corten.test/gadget=three"])]).unwrap_err(),
        "CDI device injection failed: unresolvable CDI devices corten.test/gadget=three"
    );
    let count = DeviceRequest { count: 1, ..named(&["corten.test/gadget=one"]) };
    assert_eq!(injected(&[count]).unwrap_err(), "unexpected count in CDI device request");
    let other = DeviceRequest {
        driver: "odd".into(),
        capabilities: Some(vec![vec!["a".into(), "b".into()]]),
        ..DeviceRequest::default()
    };
    assert_eq!(
        injected(&[other]).unwrap_err(),
        r#"could not select device driver "odd" with capabilities: [[a b]]"#
    );
}

#[test]
fn of_two_devices_of_one_name_neither_counts_and_a_later_folder_wins() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["a.yaml", "b.yaml"] {
        std::fs::write(first.path().join(name), YAML).unwrap();
    }
    assert!(Registry::read(&[first.path().to_owned()]).names().is_empty());
    std::fs::write(second.path().join("a.yaml"), YAML).unwrap();
    let names = Registry::read(&[first.path().to_owned(), second.path().to_owned()]).names();
    assert_eq!(names, ["corten.test/gadget=one", "corten.test/gadget=two"]);
}
