//! `inspect`, for one kind of thing or for any.

use corten_client::{Request, encode_component};
use serde_json::Value as Json;

use crate::command::{Arity, Command};
use crate::each::{container, image};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::session::Session;
use crate::template::{self, Mode, Value, shape};

const FORMAT: Flag = flag("format", Kind::Text, "How to print: 'json' or a Go TEMPLATE").short('f');
const SIZE: Flag = switch("size", "Tell the sizes of a container too").short('s');

static ANY: &[Flag] = &[FORMAT, SIZE, flag("type", Kind::Text, "Look only for this kind of thing")];
static CONTAINER: &[Flag] = &[FORMAT, SIZE];
static IMAGE: &[Flag] =
    &[FORMAT, flag("platform", Kind::Text, "Inspect this platform's image (os[/arch[/variant]])")];
static NETWORK: &[Flag] = &[FORMAT, switch("verbose", "Tell everything there is").short('v')];
static VOLUME: &[Flag] = &[FORMAT];

/// `inspect`
pub static INSPECT: Command = Command {
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    usage_also: None,
    about: "Return low-level information on Docker objects",
    spellings: &["inspect"],
    flags: &[ANY],
    arity: Arity::AtLeast(1),
    order: Order::Anywhere,
    run: |session, m| Box::pin(any(session, m)),
};

/// `container inspect`
pub static CONTAINER_INSPECT: Command = Command {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    spellings: &["container inspect"],
    flags: &[CONTAINER],
    run: |session, m| Box::pin(inspect(session, m, &[Thing::Container], Absence::Told)),
    ..INSPECT
};

/// `image inspect`
pub static IMAGE_INSPECT: Command = Command {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    spellings: &["image inspect"],
    flags: &[IMAGE],
    run: |session, m| Box::pin(inspect(session, m, &[Thing::Image], Absence::Told)),
    ..INSPECT
};

/// `network inspect`
pub static NETWORK_INSPECT: Command = Command {
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    spellings: &["network inspect"],
    flags: &[NETWORK],
    run: |session, m| Box::pin(inspect(session, m, &[Thing::Network], Absence::Told)),
    ..INSPECT
};

/// `volume inspect`
pub static VOLUME_INSPECT: Command = Command {
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    spellings: &["volume inspect"],
    flags: &[VOLUME],
    run: |session, m| Box::pin(inspect(session, m, &[Thing::Volume], Absence::Told)),
    ..INSPECT
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Container,
    Image,
    Network,
    Volume,
}

/// What a name that is not found means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// The daemon's words are told.
    Told,
    /// The next kind is tried.
    Passed,
}

impl Thing {
    fn request(self, m: &Matches, name: &str) -> Request {
        match self {
            Self::Container => Request::get(container(name, "/json")).query_if("size", m.on("size")),
            Self::Image => {
                let platform = m.given("platform").map(crate::commands::image::push::platform_json);
                Request::get(image(name, "/json")).query_some("platform", platform)
            }
            Self::Network => {
                let request = Request::get(format!("/networks/{}", encode_component(name)));
                if m.on("verbose") { request.query("verbose", "true") } else { request }
            }
            Self::Volume => Request::get(format!("/volumes/{}", encode_component(name))),
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Container => "container.InspectResponse",
            Self::Image => "image.InspectResponse",
            Self::Network => "network.Inspect",
            Self::Volume => "volume.Volume",
        }
    }
}

async fn any(session: &Session, m: &Matches) -> Outcome {
    let all = [Thing::Container, Thing::Image, Thing::Network, Thing::Volume];
    match m.given("type") {
        None => inspect(session, m, &all, Absence::Passed).await,
        Some("container") => inspect(session, m, &[Thing::Container], Absence::Told).await,
        Some("image") => inspect(session, m, &[Thing::Image], Absence::Told).await,
        Some("network") => inspect(session, m, &[Thing::Network], Absence::Told).await,
        Some("volume") => inspect(session, m, &[Thing::Volume], Absence::Told).await,
        Some("") => Err(Failure::new(format!("type is empty: must be one of {TYPES}"))),
        Some(other) => Err(Failure::new(format!("unknown type: {other:?}: must be one of {TYPES}"))),
    }
}

const TYPES: &str = "\"container\", \"image\", \"network\", \"volume\"";

async fn inspect(session: &Session, m: &Matches, things: &[Thing], absence: Absence) -> Outcome {
    let format = m.text("format");
    let template = match format {
        "" | "json" => None,
        text => Some(
            template::parse(text)
                .map_err(|error| Failure::new(format!("template parsing error: {error}")).with_code(64))?,
        ),
    };
    let (mut found, mut text, mut mistakes) = (Vec::new(), String::new(), Vec::new());
    for name in &m.args {
        match look(session, m, things, absence, name).await? {
            Err(mistake) => mistakes.push(mistake),
            Ok((thing, json)) => match &template {
                None => found.push(json),
                Some(template) => match run(template, thing, &json) {
                    Ok(line) => {
                        text.push_str(&line);
                        text.push('\n');
                    }
                    Err(mistake) => mistakes.push(mistake),
                },
            },
        }
    }
    if template.is_some() {
        // Docker ends the output with an empty line where there is none.
        output::put(if text.is_empty() { "\n" } else { &text });
    } else if format == "json" {
        output::line(&Json::from(found).to_string());
    } else {
        output::line(&pretty(&Json::from(found)));
    }
    crate::each::together(mistakes)
}

/// JSON with four spaces a level, as docker prints it.
pub fn pretty(json: &Json) -> String {
    let mut out = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, indent);
    let _ = serde::Serialize::serialize(json, &mut serializer);
    String::from_utf8(out).unwrap_or_default()
}

type Looked = Result<(Thing, Json), String>;

async fn look(
    session: &Session,
    m: &Matches,
    things: &[Thing],
    absence: Absence,
    name: &str,
) -> Outcome<Looked> {
    let client = session.client()?;
    for thing in things {
        match client.json::<Json>(thing.request(m, name)).await {
            Ok(json) => {
                if m.on("size") && *thing != Thing::Container {
                    let kind = thing.shape().split('.').next().unwrap_or_default();
                    output::error_line(&format!("WARNING: --size ignored for {kind}"));
                }
                return Ok(Ok((*thing, json)));
            }
            Err(error) if absence == Absence::Passed && passable(&error) => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Err(format!("Error: No such object: {name}")))
}

fn passable(error: &corten_client::Error) -> bool {
    let text = error.to_string();
    error.is_not_found() || text.contains("not supported") || text.contains("invalid reference format")
}

/// The template on the typed thing; where that fails, on the JSON as it is, and the second mistake is told.
fn run(template: &template::Template, thing: Thing, json: &Json) -> Result<String, String> {
    template::execute(template, &shape::typed(json, thing.shape()), Mode::Row)
        .or_else(|_| template::execute(template, &Value::from_json(json), Mode::Strict))
        .map_err(|error| format!("template parsing error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        template: String,
        output: String,
    }

    /// `testdata/templates`: what the engine answered, and what docker's own client 28.5 made of it.
    #[test]
    fn templates_print_what_docker_s_client_prints() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/templates");
        let mut count = 0;
        for (name, thing) in [
            ("container", Thing::Container),
            ("image", Thing::Image),
            ("network", Thing::Network),
            ("volume", Thing::Volume),
        ] {
            let read = |file: String| std::fs::read(folder.join(file)).unwrap();
            let json: Json = serde_json::from_slice(&read(format!("{name}.json"))).unwrap();
            let cases: Vec<Case> = serde_json::from_slice(&read(format!("{name}.expected.json"))).unwrap();
            for case in cases {
                let template = template::parse(&case.template).unwrap();
                let got = run(&template, thing, &json).unwrap_or_else(|error| format!("ERROR {error}"));
                assert_eq!(got, case.output, "{name}: {}", case.template);
                count += 1;
            }
        }
        assert!(count > 50);
    }
}
