//! What the classic builder says, as docker shows it, or as Corten does: one line a step, `CACHED` where nothing was done.

use crate::session::Persona;

/// Rewrites the builder's text as it comes.
pub struct View {
    persona: Persona,
    /// Whether a terminal shows it. The builder sends what a step writes to its stderr in red.
    colour: bool,
    /// Text without an end of line yet.
    partial: String,
    /// A step of which it is not known yet whether it is cached.
    waiting: Option<String>,
}

impl View {
    /// A view for the name the program was called by.
    pub fn new(persona: Persona) -> Self {
        let colour = std::io::IsTerminal::is_terminal(&std::io::stdout());
        Self { persona, colour, partial: String::new(), waiting: None }
    }

    /// What to print for a piece of the builder's text.
    pub fn show(&mut self, text: &str) -> String {
        if self.persona == Persona::Docker {
            return text.to_owned();
        }
        if self.colour {
            self.partial.push_str(text);
        } else {
            self.partial.push_str(&text.replace("\u{1b}[91m", "").replace("\u{1b}[0m", ""));
        }
        let mut out = String::new();
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            out.push_str(&self.line(line.trim_end_matches('\n')));
        }
        out
    }

    /// What is left to print.
    pub fn finish(&mut self) -> String {
        let mut out = self.step("");
        if !self.partial.is_empty() {
            out.push_str(&std::mem::take(&mut self.partial));
            out.push('\n');
        }
        out
    }

    fn step(&mut self, mark: &str) -> String {
        self.waiting.take().map_or_else(String::new, |step| {
            let (number, text) = step.split_once(" : ").unwrap_or(("", &step));
            format!("[{number}]{mark} {text}\n")
        })
    }

    fn line(&mut self, line: &str) -> String {
        if let Some(step) = line.strip_prefix("Step ").filter(|step| step.contains(" : ")) {
            let before = self.step("");
            self.waiting = Some(step.to_owned());
            return before;
        }
        if let Some(note) = line.strip_prefix(" ---> ") {
            return match note {
                "Using cache" => self.step(" CACHED"),
                _ => self.step(""),
            };
        }
        if line.is_empty() && self.waiting.is_some() {
            return String::new();
        }
        format!("{}{line}\n", self.step(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[&str] = &[
        "Step 1/3 : FROM busybox",
        "\n",
        " ---> b6cc8694fc2f\n",
        "Step 2/3 : COPY a /a",
        "\n",
        " ---> Using cache\n",
        " ---> d129c1c14061\n",
        "Step 3/3 : RUN cat /a",
        "\n",
        " ---> Running in 2b48348f147d\n",
        "hi\n",
        " ---> Removed intermediate container 2b48348f147d\n",
        " ---> 77dc2920e874\n",
        "Successfully built 77dc2920e874\n",
    ];

    fn all(persona: Persona) -> String {
        let mut view = View::new(persona);
        let mut out: String = SAID.iter().map(|text| view.show(text)).collect();
        out.push_str(&view.finish());
        out
    }

    #[test]
    fn docker_s_lines_are_docker_s() {
        assert_eq!(all(Persona::Docker), SAID.concat());
    }

    #[test]
    fn cached_steps_say_so() {
        assert_eq!(
            all(Persona::Corten),
            "[1/3] FROM busybox\n[2/3] CACHED COPY a /a\n[3/3] RUN cat /a\nhi\nSuccessfully built 77dc2920e874\n"
        );
    }
}
