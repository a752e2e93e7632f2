//! Any bytes as a list that comes in pieces of any size. The pieces change nothing; what the reader of the whole takes, the
//! splitter takes, and finds the same in it; limits hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scim_client::message::{ListResponse, Page};
use scim_client::read::{ListSplitter, ReadError, ReadLimits, from_slice};
use scim_client::resource::DynamicResource;

fn split(list: &[u8], sizes: &[u8], limits: ReadLimits) -> Result<(Vec<DynamicResource>, Page), ReadError> {
    let mut splitter = ListSplitter::new(limits);
    let (mut elements, mut rest) = (Vec::new(), list);
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(usize::MAX, usize::from);
        let (mut piece, after) = rest.split_at(size.clamp(1, rest.len()));
        rest = after;
        while let Some(element) = splitter.next(&mut piece)? {
            assert!(element.bytes().len() <= limits.element_bytes_max);
            let start = element.position().offset as usize;
            assert_eq!(element.bytes(), &list[start..start + element.bytes().len()]);
            elements.push(element.read()?);
        }
        assert!(piece.is_empty());
    }
    splitter.finish().map(|page| (elements, page))
}

fuzz_target!(|input: (Vec<u8>, &[u8])| {
    let (sizes, list) = input;
    let limits = ReadLimits::default().with(|limits| {
        limits.element_bytes_max = 200;
        limits.envelope_bytes_max = 200;
        limits.values_max = 100;
    });
    let whole = split(list, &[], limits);
    match (&whole, split(list, &sizes, limits)) {
        (Ok(whole), Ok(pieces)) => assert_eq!(*whole, pieces),
        (Err(whole), Err(pieces)) => {
            assert!(whole.position().offset <= list.len() as u64);
            assert!(pieces.position().offset <= list.len() as u64);
        }
        (whole, pieces) => panic!("{whole:?} {pieces:?}"),
    }
    let read = from_slice::<ListResponse<DynamicResource>>(list, &ReadLimits::default());
    match (whole, read) {
        (Ok((elements, page)), Ok(read)) => {
            assert_eq!(elements, read.resources);
            assert_eq!(page, read.page);
        }
        // The limits are smaller, and count differently, for who reads in pieces.
        (Err(error), Ok(_)) => assert!(error.is_limit(), "{error}"),
        (Ok(_), Err(error)) => assert!(error.is_limit(), "{error}"),
        (Err(_), Err(_)) => {}
    }
});
