//! Patterns of absolute paths.

use super::pattern::Glob;
use crate::directory::{AbsolutePath, DIRECTORY_BYTES_MAX};
use crate::limits::PATH_PATTERN_COMPONENTS_MAX;

/// `/var/log/**`: `*` and `?` within one component, `**` for any number of components, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    components: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    Name(String),
    Glob(Glob),
    /// `**`
    Deep,
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(match text.starts_with('~') {
                true => "`~` is not known here (write the home directory out)",
                false => "a path must be absolute",
            });
        };
        if text.len() > DIRECTORY_BYTES_MAX {
            return Err("the path is too long");
        }
        if text.chars().any(char::is_control) {
            return Err("a path cannot hold control characters");
        }
        let mut components = Vec::new();
        for name in rest.split('/').filter(|_| !rest.is_empty()) {
            components.push(match name {
                "" => return Err("a path cannot hold `//` or end with `/`"),
                "." | ".." => return Err("a path cannot hold `.` or `..`"),
                "**" => Component::Deep,
                name if name.contains("**") => return Err("`**` must stand alone between slashes"),
                name if name.contains(['*', '?']) => {
                    let wild: Vec<usize> = name.match_indices(['*', '?']).map(|(at, _)| at).collect();
                    Component::Glob(Glob::new(name, &wild))
                }
                name => Component::Name(name.to_owned()),
            });
        }
        match components.len() <= PATH_PATTERN_COMPONENTS_MAX {
            true => Ok(Self { components }),
            false => Err("the path has too many components"),
        }
    }

    /// Whether it names this path. `/srv/**` names `/srv` too.
    pub(crate) fn matches(&self, path: &AbsolutePath) -> bool {
        self.after(path) & bit(self.components.len()) != 0
    }

    /// Whether it names this path, or could name one below it.
    pub(crate) fn reaches(&self, path: &AbsolutePath) -> bool {
        // Whatever is left of the pattern, there is a name that fits.
        self.after(path) != 0
    }

    /// The set of places in the pattern that the whole path leads to, as bits.
    fn after(&self, path: &AbsolutePath) -> u128 {
        let mut places = self.skip_deep(bit(0));
        for name in path.components() {
            let mut next = 0;
            for (at, component) in self.components.iter().enumerate().filter(|(at, _)| places & bit(*at) != 0)
            {
                next |= match component {
                    Component::Deep => bit(at),
                    Component::Name(expected) if expected == name => bit(at.saturating_add(1)),
                    Component::Glob(glob) if glob.matches_bytes(name.as_bytes()) => bit(at.saturating_add(1)),
                    _ => 0,
                };
            }
            places = self.skip_deep(next);
            if places == 0 {
                break;
            }
        }
        places
    }

    /// `**` may stand for nothing.
    fn skip_deep(&self, mut places: u128) -> u128 {
        for (at, component) in self.components.iter().enumerate() {
            if *component == Component::Deep && places & bit(at) != 0 {
                places |= bit(at.saturating_add(1));
            }
        }
        places
    }
}

fn bit(at: usize) -> u128 {
    u32::try_from(at).ok().and_then(|at| 1u128.checked_shl(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> AbsolutePath {
        AbsolutePath::parse(text).unwrap()
    }

    fn matches(pattern: &str, text: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(&path(text))
    }

    fn reaches(pattern: &str, text: &str) -> bool {
        PathPattern::parse(pattern).unwrap().reaches(&path(text))
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_go_anywhere_below() {
        assert!(matches("/var/log/*", "/var/log/syslog"));
        assert!(matches("/var/log/*", "/var/log/.hidden"));
        for no in ["/var/log", "/var/log/nginx/error.log", "/var/logs"] {
            assert!(!matches("/var/log/*", no), "{no}");
        }
        for yes in ["/srv", "/srv/a", "/srv/a/b/c"] {
            assert!(matches("/srv/**", yes), "{yes}");
        }
        for no in ["/", "/srv2", "/sr", "/a/srv"] {
            assert!(!matches("/srv/**", no), "{no}");
        }
        assert!(matches("/srv/*/**", "/srv/a"));
        assert!(!matches("/srv/*/**", "/srv"));
        assert!(matches("/srv/**/*.log", "/srv/x.log"));
        assert!(matches("/srv/**/*.log", "/srv/a/b/x.log"));
        assert!(!matches("/srv/**/*.log", "/srv/a/b/x.txt"));
        assert!(matches("/", "/"));
        assert!(!matches("/", "/a"));
        assert!(matches("/**", "/"));
        assert!(matches("/a?c", "/aéc"));
        assert!(!matches("/A", "/a"));
    }

    #[test]
    fn a_name_of_stars_or_dashes_is_only_a_name() {
        assert!(matches("/srv/*", "/srv/-x"));
        assert!(matches("/srv/*", "/srv/*"));
        assert!(matches("/srv/a..b", "/srv/a..b"));
    }

    #[test]
    fn the_way_to_what_is_named_is_reached() {
        for yes in ["/", "/var", "/var/www", "/var/www/site/upload", "/var/www/site/upload/x"] {
            assert!(reaches("/var/www/*/upload/**", yes), "{yes}");
        }
        for no in ["/etc", "/var/www/site/private", "/varnish"] {
            assert!(!reaches("/var/www/*/upload/**", no), "{no}");
        }
        assert!(!reaches("/var/log/syslog", "/var/log/syslog/x"));
    }

    #[test]
    fn says_what_is_no_pattern() {
        for (text, part) in [
            ("", "absolute"),
            ("var/log", "absolute"),
            ("~/x", "`~`"),
            ("/a/../b", "`..`"),
            ("/a/./b", "`.`"),
            ("/a//b", "`//`"),
            ("/a/", "end with"),
            ("/a**", "alone"),
            ("/a\tb", "control"),
            ("/a/***", "alone"),
            (&"/a".repeat(PATH_PATTERN_COMPONENTS_MAX + 1), "many components"),
            (&format!("/{}", "a".repeat(DIRECTORY_BYTES_MAX)), "too long"),
        ] {
            let said = PathPattern::parse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
        let long = "/*".repeat(PATH_PATTERN_COMPONENTS_MAX);
        assert!(matches(&long, &"/b".repeat(PATH_PATTERN_COMPONENTS_MAX)));
    }

    /// The same language by the definition.
    fn naive(pattern: &[&str], names: &[&str]) -> bool {
        match pattern.split_first() {
            None => names.is_empty(),
            Some((&"**", rest)) => (0..=names.len()).any(|n| naive(rest, &names[n..])),
            Some((first, rest)) => {
                let fits = |name: &str| match *first {
                    "*" => true,
                    "a*" => name.starts_with('a'),
                    "?" => name.chars().count() == 1,
                    literal => literal == name,
                };
                names.split_first().is_some_and(|(name, names)| fits(name) && naive(rest, names))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn agrees_with_the_naive_model(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "a*", "?", "**"]), 0..6),
            names in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "c"]), 0..6),
        ) {
            let compiled = PathPattern::parse(&format!("/{}", pattern.join("/"))).unwrap();
            let asked = path(&format!("/{}", names.join("/")));
            prop_assert_eq!(compiled.matches(&asked), naive(&pattern, &names));
            // Below means: with up to so many further names, one of each kind.
            let below = |extra: &[&str]| naive(&pattern, &[names.as_slice(), extra].concat());
            let mut found = below(&[]);
            let mut tails: Vec<Vec<&str>> = vec![vec![]];
            for _ in 0..pattern.len() {
                tails = tails.iter().flat_map(|tail| ["a", "b"].map(|name| [tail.as_slice(), &[name]].concat())).collect();
                found |= tails.iter().any(|tail| below(tail));
            }
            prop_assert_eq!(compiled.reaches(&asked), found);
        }
    }
}
