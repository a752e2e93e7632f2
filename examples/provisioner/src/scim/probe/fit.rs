//! Which dialect fits: each asks something of a server, and was given up something where it need not.

use scim_client::dialect::{
    BooleanForm, Dialect, FilterForm, IfMatch, MemberRemoval, Paging, PatchForm, Preset, Support, VerbCase,
};

use super::finding::Findings;
use super::host::{Address, Known};

/// Dialects that are no vendor's: behaviour alone chooses among these, a vendor's wants its address.
const GENERIC: [&str; 4] = ["rfc7644", "interop-profile", "entra", "okta"];

/// The dialects in the order in which they fit.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) best: Candidate,
    /// The others that were weighed, the nearest first.
    pub(super) others: Vec<Candidate>,
    /// What the address says.
    pub(super) known: Option<Known>,
}

/// A dialect and what speaks for and against it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) preset: &'static Preset,
    /// What it needs and the server was seen to do.
    pub(super) works: Vec<&'static str>,
    /// What it needs and the server does not do, with the switch that gives it up.
    pub(super) fails: Vec<Need>,
    /// What the server does and it leaves unused.
    pub(super) unused: Vec<&'static str>,
}

/// Something that a dialect needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// The code of the finding.
    pub(super) code: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// What to switch where it is not there, as Rust writes it.
    pub(super) otherwise: &'static str,
    weight: u32,
}

/// Holds what was found against the dialects.
pub(super) fn choose(findings: &Findings, address: &Address) -> Choice {
    let known = address.known();
    let is_weighed = |preset: &&Preset| {
        GENERIC.contains(&preset.name) || known.as_ref().is_some_and(|known| known.dialect == preset.name)
    };
    let mut candidates: Vec<Candidate> =
        Preset::ALL.iter().filter(is_weighed).map(|preset| Candidate::of(preset, findings)).collect();
    // Stable, so that among equals the plainer one comes first.
    candidates.sort_by_key(|candidate| {
        let is_known = known.as_ref().is_some_and(|known| known.dialect == candidate.preset.name);
        (!is_known, candidate.cost())
    });
    let mut candidates = candidates.into_iter();
    let best = candidates.next();
    Choice {
        best: best.unwrap_or_else(|| Candidate::of(plain(), findings)),
        others: candidates.collect(),
        known,
    }
}

/// The base of all others.
fn plain() -> &'static Preset {
    const PLAIN: &Preset = match Preset::ALL.first() {
        Some(preset) => preset,
        None => unreachable!(),
    };
    PLAIN
}

impl Candidate {
    fn of(preset: &'static Preset, findings: &Findings) -> Self {
        let dialect = preset.dialect();
        let (mut works, mut fails) = (Vec::new(), Vec::new());
        for need in needs(&dialect) {
            match findings.works(need.code) {
                Some(true) => works.push(need.what),
                Some(false) => fails.push(need),
                None => {}
            }
        }
        let unused = unused(&dialect, findings);
        Self { preset, works, fails, unused }
    }

    fn cost(&self) -> u32 {
        let unused = u32::try_from(self.unused.len()).unwrap_or(u32::MAX);
        self.fails.iter().map(|need| need.weight).fold(unused, u32::saturating_add)
    }

    /// Whether nothing that it needs is missing.
    pub(super) fn fits(&self) -> bool {
        self.fails.is_empty()
    }
}

fn need(code: &'static str, what: &'static str, weight: u32, otherwise: &'static str) -> Need {
    Need { code, what, otherwise, weight }
}

/// What a dialect needs. The weight says how much is lost where it is not there: a look-up that fails costs more than a
/// filter that nobody uses.
fn needs(dialect: &Dialect) -> Vec<Need> {
    let mut needs = vec![need("filter.eq", "filter `eq`", 20, "unfiltered lists only")];
    let equal_and = "filters = FilterForm::EqualAnd";
    if dialect.filters != FilterForm::Equal {
        needs.push(need("filter.and", "filter `and`", 6, "filters = FilterForm::Equal"));
    }
    if matches!(dialect.filters, FilterForm::Full | FilterForm::Grouped) {
        needs.extend([
            need("filter.or", "filter `or`", 3, equal_and),
            need("filter.not", "filter `not`", 2, equal_and),
            need("filter.sw", "filter `sw`", 1, equal_and),
            need("filter.co", "filter `co`", 1, equal_and),
            need("filter.pr", "filter `pr`", 1, equal_and),
            need("filter.element", "filters that choose an element", 1, equal_and),
        ]);
    }
    if dialect.filters == FilterForm::Full {
        needs.push(need(
            "filter.precedence",
            "`and` binding before `or`",
            4,
            "filters = FilterForm::Grouped",
        ));
    }
    if dialect.unfiltered_lists != Support::No {
        needs.push(need("list.unfiltered", "lists without a filter", 10, "unfiltered_lists = Support::No"));
    }
    if dialect.paging != Paging::None {
        needs.push(need("list.index", "paging by index", 8, "paging = Paging::None"));
    }
    if dialect.search_post == Support::Yes {
        needs.push(need("search.post", "POST to `.search`", 1, "search_post = Support::No"));
    }
    if dialect.attribute_selection == Support::Yes {
        needs.push(need("list.attributes", "`attributes`", 1, "attribute_selection = Support::No"));
    }
    if dialect.config_path == "ServiceProviderConfig" {
        needs.push(need(
            "discovery.config",
            "`/ServiceProviderConfig`",
            1,
            "config_path as the server has it",
        ));
    }
    if !dialect.not_found_is_empty {
        needs.push(need(
            "filter.nobody",
            "an empty list where nobody is found",
            6,
            "not_found_is_empty = true",
        ));
    }
    needs.push(match dialect.patch {
        PatchForm::Standard | PatchForm::PerAttribute | PatchForm::Unfiltered => {
            need("patch.path", "PATCH with a path", 8, "patch = PatchForm::Pathless")
        }
        _ => need("patch.pathless", "PATCH without a path", 8, "patch = PatchForm::Standard"),
    });
    if dialect.patch == PatchForm::Standard {
        let per_attribute = "patch = PatchForm::PerAttribute";
        needs.push(need("patch.element", "PATCH of an element that a filter chooses", 4, per_attribute));
    }
    if dialect.verbs == VerbCase::Title {
        needs.push(need("patch.title", "`Replace` for `replace`", 8, "verbs = VerbCase::Lower"));
    }
    if dialect.booleans == BooleanForm::Text {
        needs.push(need("patch.text_boolean", "`\"False\"` for `false`", 8, "booleans = BooleanForm::Json"));
    }
    needs.push(match dialect.member_removal {
        MemberRemoval::Filter => {
            need("member.filter", "a member removed by a filter", 6, "member_removal = MemberRemoval::Value")
        }
        MemberRemoval::Value => {
            need("member.value", "a member removed by its value", 6, "member_removal = MemberRemoval::Filter")
        }
        _ => {
            need("member.replace", "members replaced as a whole", 6, "member_removal = MemberRemoval::Filter")
        }
    });
    needs
}

/// What a server does and a dialect does not use.
fn unused(dialect: &Dialect, findings: &Findings) -> Vec<&'static str> {
    let works = |code: &str| findings.works(code) == Some(true);
    let mut unused = Vec::new();
    let narrow = !matches!(dialect.filters, FilterForm::Full | FilterForm::Grouped);
    if narrow && works("filter.or") {
        unused.push("filters with more than `eq` and `and`");
    }
    if dialect.filters == FilterForm::Equal && works("filter.and") {
        unused.push("filter `and`");
    }
    if dialect.paging == Paging::None && works("list.index") {
        unused.push("paging by index");
    }
    if dialect.search_post == Support::No && works("search.post") {
        unused.push("POST to `.search`");
    }
    if dialect.attribute_selection == Support::No && works("list.attributes") {
        unused.push("`attributes`");
    }
    if dialect.if_match == IfMatch::Never && works("get.version") {
        unused.push("versions");
    }
    if dialect.page_size_max.is_some() && works("list.index") {
        unused.push("larger pages");
    }
    if dialect.unfiltered_lists == Support::No && works("list.unfiltered") {
        unused.push("lists without a filter");
    }
    if dialect.member_removal == MemberRemoval::Replace {
        unused.push("removing single members");
    }
    if dialect.patch != PatchForm::Standard {
        unused.push("PATCH of single elements");
    }
    // What departs from the RFC without need is one more thing that can break.
    if dialect.booleans == BooleanForm::Text {
        unused.push("booleans as JSON has them");
    }
    if dialect.verbs == VerbCase::Title {
        unused.push("verbs as RFC 7644 writes them");
    }
    unused
}

#[cfg(test)]
mod tests {
    use super::super::finding::Standing;
    use super::*;

    /// A server of whom all is known, with these deviations.
    fn server(deviations: &[&str]) -> Findings {
        const ALL: [&str; 21] = [
            "filter.eq",
            "filter.and",
            "filter.or",
            "filter.not",
            "filter.sw",
            "filter.co",
            "filter.pr",
            "filter.element",
            "filter.precedence",
            "list.unfiltered",
            "list.index",
            "search.post",
            "list.attributes",
            "discovery.config",
            "filter.nobody",
            "patch.path",
            "patch.element",
            "patch.pathless",
            "member.filter",
            "member.value",
            "member.replace",
        ];
        let mut findings = Findings::default();
        for code in ALL {
            let standing = if deviations.contains(&code) { Standing::Deviates } else { Standing::Conforms };
            findings.note(code, "", "", (standing, ""));
        }
        findings
    }

    fn chosen(deviations: &[&str], url: &str) -> (&'static str, bool) {
        let choice = choose(&server(deviations), &Address::of(&url.parse().unwrap()));
        (choice.best.preset.name, choice.best.fits())
    }

    const HERE: &str = "https://x.example/scim";

    #[test]
    fn a_server_as_the_rfc_has_it_speaks_it() {
        assert_eq!(chosen(&[], HERE), ("rfc7644", true));
        assert_eq!(
            choose(&Findings::default(), &Address::of(&HERE.parse().unwrap())).best.preset.name,
            "rfc7644"
        );
    }

    #[test]
    fn rare_things_that_are_missing_do_not_make_another_dialect() {
        assert_eq!(chosen(&["filter.element"], HERE), ("rfc7644", false));
    }

    #[test]
    fn servers_that_know_little_get_a_dialect_that_asks_little() {
        let simple = [
            "filter.or",
            "filter.not",
            "filter.sw",
            "filter.co",
            "filter.pr",
            "filter.element",
            "filter.precedence",
        ];
        assert_eq!(
            chosen(&[&simple[..], &["patch.element", "member.filter", "member.value"]].concat(), HERE),
            ("interop-profile", true)
        );
        assert_eq!(
            chosen(
                &[&simple[..], &["filter.and", "filter.nobody", "patch.path", "patch.element"]].concat(),
                HERE
            )
            .0,
            "okta"
        );
    }

    #[test]
    fn a_vendors_address_decides_and_what_contradicts_is_said() {
        let aws = "https://scim.eu-west-1.amazonaws.com/x/scim/v2";
        assert_eq!(chosen(&[], aws), ("aws-identity-center", true));
        let choice = choose(&server(&["filter.and"]), &Address::of(&aws.parse().unwrap()));
        assert_eq!(choice.best.preset.name, "aws-identity-center");
        assert_eq!(choice.best.fails[0].code, "filter.and");
    }
}
