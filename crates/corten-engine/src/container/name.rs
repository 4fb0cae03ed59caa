//! Names of containers: what is one, and made-up ones for those who give none.

/// Why a text is not a name of a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct NameError(String);

/// A name, without the slash that the API puts before it: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn parse(text: &str) -> Result<&str, NameError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.len() > 1 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest { Ok(name) } else { Err(NameError(text.to_owned())) }
}

/// A made-up name, `quality_metallurgist`. The `attempt`s after the first carry a digit.
pub fn invent(random: u64, attempt: u32) -> String {
    let quality = QUALITIES[usize::try_from(random % QUALITIES.len() as u64).unwrap_or(0)];
    let person = PEOPLE[usize::try_from((random >> 20) % PEOPLE.len() as u64).unwrap_or(0)];
    match attempt {
        0 => format!("{quality}_{person}"),
        _ => format!("{quality}_{person}{}", (random >> 50) % 10),
    }
}

const QUALITIES: [&str; 96] = [
    "able", "agile", "airy", "amber", "ample", "apt", "ardent", "balmy", "bold", "brave", "breezy", "brisk",
    "bright", "calm", "candid", "careful", "cheerful", "civil", "clean", "clear", "clever", "cosy", "crisp",
    "curious", "daring", "deft", "dewy", "eager", "earnest", "easy", "exact", "fair", "fearless", "fine",
    "firm", "fluent", "fond", "frank", "fresh", "gallant", "generous", "gentle", "gifted", "glad", "golden",
    "graceful", "grand", "happy", "hardy", "hearty", "honest", "hopeful", "humble", "jolly", "jovial",
    "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "nimble",
    "noble", "open", "patient", "plucky", "polite", "prompt", "proud", "quick", "quiet", "rapid", "ready",
    "robust", "rosy", "rustic", "serene", "sharp", "shiny", "silent", "smooth", "snug", "solid", "spry",
    "steady", "sturdy", "sunny", "tidy", "tranquil", "trusty", "vivid", "warm",
];

const PEOPLE: [&str; 96] = [
    "abel",
    "agricola",
    "andersson",
    "arago",
    "arkwright",
    "banach",
    "becquerel",
    "bessel",
    "bessemer",
    "biot",
    "bolzano",
    "boole",
    "brewster",
    "brunel",
    "bunsen",
    "cantor",
    "carnot",
    "cauchy",
    "cavendish",
    "celsius",
    "chladni",
    "clausius",
    "coulomb",
    "crompton",
    "daimler",
    "dalton",
    "darby",
    "davy",
    "dedekind",
    "deforest",
    "dirichlet",
    "doppler",
    "eiffel",
    "ekeblad",
    "ercker",
    "euler",
    "faraday",
    "fermat",
    "fizeau",
    "foucault",
    "fourier",
    "fraunhofer",
    "fresnel",
    "fulton",
    "galois",
    "galvani",
    "gauss",
    "germain",
    "gibbs",
    "gilchrist",
    "grove",
    "hadfield",
    "hall",
    "heaviside",
    "helmholtz",
    "henry",
    "heroult",
    "hertz",
    "huntsman",
    "joule",
    "kirchhoff",
    "klaproth",
    "klein",
    "kroll",
    "lagrange",
    "laplace",
    "legendre",
    "lenz",
    "lie",
    "maudslay",
    "maxwell",
    "monge",
    "moissan",
    "neilson",
    "newcomen",
    "nobel",
    "noether",
    "ohm",
    "oersted",
    "papin",
    "pascal",
    "percy",
    "poisson",
    "poncelet",
    "rankine",
    "reaumur",
    "riemann",
    "savery",
    "siemens",
    "smeaton",
    "sorby",
    "stevin",
    "thomas",
    "trevithick",
    "volta",
    "watt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_at_least_two_letters() {
        for good in ["ab", "/web", "a.b-c_d", "0x"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-a", ".a", "a b", "a/b", "//ab", "é1", "a\nb"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            parse("a b").unwrap_err().to_string(),
            "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
    }

    #[test]
    fn invented_names_are_valid_and_differ() {
        let names: std::collections::HashSet<String> =
            (0..500_u64).map(|n| invent(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0)).collect();
        assert!(names.len() > 400);
        assert!(names.iter().all(|name| parse(name).is_ok()));
        assert!(parse(&invent(u64::MAX, 3)).is_ok());
    }
}
