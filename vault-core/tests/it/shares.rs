use std::collections::BTreeMap;

use proptest::prelude::*;
use vault_core::seal::{KeyError, ShareError};
use vault_core::vault::SealError;
use vault_core::{KeyProvider as _, MemoryAudit, MemoryStore, Shamir, Share, Vault, limits};

use crate::fixture::{at, by};

/// What one tries and what the vault says, by the numbers of the shares in each of two sets.
async fn outcome(dealt: &Shamir, shares: Vec<Share>) -> Result<(), SealError> {
    let sealed = Vault::open(MemoryStore::new(), MemoryAudit::new());
    let vault = sealed.initialise(dealt, &by("root"), at(0)).await.unwrap();
    let sealed = vault.reseal(&by("root"), at(1)).await.unwrap();
    sealed.unseal(&Shamir::collect(shares), &by("root"), at(2)).await.map(drop)
}

#[tokio::test]
async fn enough_shares_open_whichever_they_are_and_fewer_do_not() {
    for count in 2..=5u8 {
        for threshold in 2..=count {
            let (dealt, shares) = Shamir::deal(threshold, count).unwrap();
            for mask in 0u32..1 << count {
                let given: Vec<_> = shares
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| mask >> n & 1 == 1)
                    .map(|(_, s)| s.clone())
                    .collect();
                let number = given.len();
                match outcome(&dealt, given).await {
                    Ok(()) => assert!(number >= usize::from(threshold)),
                    Err(SealError::Key(KeyError::TooFew { given, needed })) => {
                        assert!(given == number && needed == usize::from(threshold) && given < needed);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_share_among_right_ones_is_a_wrong_key_and_nothing_else() {
    let (dealt, shares) = Shamir::deal(3, 5).unwrap();
    let (_, foreign) = Shamir::deal(3, 5).unwrap();
    let take = |own: &[usize], others: &[usize]| {
        let own = own.iter().map(|n| shares[*n].clone());
        own.chain(others.iter().map(|n| foreign[*n].clone())).collect::<Vec<_>>()
    };
    let wrong = [
        take(&[0, 1], &[2]),
        take(&[], &[0, 1, 2]),
        // Also beside enough right ones, in their place or in another.
        take(&[0, 1, 2], &[3]),
        take(&[0, 1, 2], &[0]),
        take(&[0, 1, 2, 3], &[4]),
    ];
    for given in wrong {
        let error = outcome(&dealt, given).await.unwrap_err();
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
        assert_eq!(error.to_string(), "this does not open the vault");
    }
    outcome(&dealt, take(&[0, 0, 1, 1, 4], &[])).await.expect("the same share twice counts once");
    let twice = outcome(&dealt, take(&[0, 0, 0], &[])).await.unwrap_err();
    assert!(matches!(twice, SealError::Key(KeyError::TooFew { given: 1, needed: 3 })), "{twice:?}");
}

#[tokio::test]
async fn a_forged_share_is_a_wrong_key() {
    // Whoever writes a share anew, with a check that fits, still has no share of this key.
    let (dealt, shares) = Shamir::deal(2, 2).unwrap();
    let (_, other) = Shamir::deal(2, 2).unwrap();
    let error = outcome(&dealt, vec![shares[0].clone(), other[1].clone()]).await.unwrap_err();
    assert!(matches!(error, SealError::WrongKey));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for (threshold, count) in [(0, 0), (0, 3), (1, 1), (1, 3), (4, 3), (255, 254)] {
        assert!(Shamir::deal(threshold, count).is_err(), "{threshold} of {count}");
    }
    assert_eq!(Shamir::deal(255, 255).unwrap().1.len(), usize::from(limits::SHARES_MAX));
}

#[test]
fn a_share_is_read_as_it_was_written_and_as_people_type_it() {
    let (_, shares) = Shamir::deal(2, 3).unwrap();
    for (number, share) in (1..).zip(&shares) {
        assert_eq!((share.number(), share.threshold()), (number, 2));
        let text = share.expose();
        let spaced: String = text.chars().enumerate().fold(String::new(), |mut typed, (at, letter)| {
            if at > 12 && at % 5 == 0 {
                typed.push(if at % 2 == 0 { ' ' } else { '-' });
            }
            typed.push(letter);
            typed
        });
        let typed = [text.to_string(), text.to_uppercase(), spaced, format!("  {}\n", text.as_str())];
        for typed in typed {
            assert_eq!(typed.parse::<Share>().unwrap().expose(), text, "{typed:?}");
        }
    }
}

#[test]
fn every_slip_in_a_share_is_found() {
    let (_, shares) = Shamir::deal(2, 2).unwrap();
    let text = shares[0].expose();
    let digits = "0123456789abcdefghjkmnpqrstvwxyz";
    for at in 12..text.len() {
        for digit in digits.chars().filter(|digit| !text[at..].starts_with(*digit)) {
            let slip = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
            let error = slip.parse::<Share>().unwrap_err();
            assert!(matches!(error, ShareError::Check | ShareError::NoShare), "{slip}");
        }
        assert!(text[..at].parse::<Share>().is_err());
    }
    assert_eq!("x".repeat(limits::SHARE_BYTES_MAX + 1).parse::<Share>().unwrap_err(), ShareError::TooLong);
}

/// The oracle: another implementation of the same field, which puts our shares together.
fn oracle(shares: &[Share]) -> Vec<u8> {
    use vsss_rs::Gf256;
    // Lagrange's formula, written out.
    let parts: BTreeMap<u8, Vec<u8>> = shares.iter().map(|share| (share.number(), value(share))).collect();
    (0..32)
        .map(|at| {
            let sum = parts.iter().fold(Gf256(0), |sum, (x, value)| {
                let others = parts.keys().filter(|other| *other != x);
                let weight = others
                    .fold(Gf256(1), |weight, other| weight * (Gf256(*other) / (Gf256(*other) - Gf256(*x))));
                sum + weight * Gf256(value[at])
            });
            sum.0
        })
        .collect()
}

/// The value of a share, taken from its text.
fn value(share: &Share) -> Vec<u8> {
    let text = share.expose();
    let mut specification = data_encoding::Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    let bytes = specification.encoding().unwrap().decode(&text.as_bytes()["vault-share-".len()..]).unwrap();
    bytes[11..43].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_implementation_finds_the_same_key(threshold in 2u8..=8, more in 0u8..=8, skip in 0usize..8) {
        let count = threshold + more;
        let (dealt, shares) = Shamir::deal(threshold, count).unwrap();
        let skip = skip.min(usize::from(more));
        let given = &shares[skip..skip + usize::from(threshold)];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (key, parameters) = runtime.block_on(dealt.create()).unwrap();
        prop_assert_eq!(oracle(given), key.expose().to_vec());
        let ours = runtime.block_on(Shamir::collect(given.to_vec()).recover(&parameters)).unwrap();
        prop_assert_eq!(ours.expose(), key.expose());
    }

    #[test]
    fn no_text_makes_a_share_panic(text in "(?i)vault-share-[0-9a-z -]{0,120}|\\PC{0,300}") {
        let _ = text.parse::<Share>();
    }
}
