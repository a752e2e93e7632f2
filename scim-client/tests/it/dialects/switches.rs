//! Each switch by itself.

use scim_client::dialect::{Dialect, Preset};

/// The dialect with one field as another dialect has it.
pub(super) fn with_field_of(mut dialect: Dialect, field: &str, other: &Dialect) -> Dialect {
    macro_rules! fields {
        ($($($name:ident).+),* $(,)?) => {
            match field {
                $(name if name == stringify!($($name).+) => dialect.$($name).+ = other.$($name).+,)*
                unknown => panic!("no switch `{unknown}`"),
            }
        };
    }
    fields!(
        filters,
        update,
        patch,
        verbs,
        booleans,
        member_removal,
        members_per_patch_max,
        paging,
        page_size_max,
        bulk,
        search_post,
        me,
        sort,
        attribute_selection,
        unfiltered_lists,
        config_path,
        membership_only,
        if_match,
        deprovision.disable,
        deprovision.delete,
        not_found_is_empty,
        csrf,
        requests_per_minute,
    );
    dialect
}

#[test]
fn a_preset_is_its_switches_and_nothing_else() {
    let base = Dialect::rfc7644();
    for preset in Preset::ALL {
        let mut built = base.clone().with(|dialect| dialect.name = preset.name);
        for switch in preset.switches {
            let before = built.clone();
            built = with_field_of(built, switch.field, &preset.dialect());
            assert_ne!(built, before, "{}: `{}` changes nothing", preset.name, switch.field);
        }
        assert_eq!(built, preset.dialect(), "{} switches more than it lists", preset.name);
    }
}
