//! Any bytes as messages. What is read is written so that it reads the same; what is found in an error can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scim_client::message::{
    BulkRequest, BulkResponse, DETAIL_CHARS_MAX, ErrorResponse, PatchOp, SearchRequest,
};
use scim_client::read::{ReadLimits, from_slice};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn read<M: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let limits = ReadLimits::default().with(|limits| limits.values_max = 1_000);
    match from_slice::<M>(bytes, &limits) {
        Ok(message) => {
            let written = serde_json::to_vec(&message).expect("what is read can be written");
            let most = ReadLimits::default().with(|limits| limits.depth_max = 127);
            // A filter may be longer written than read, and a number with a fraction may lose its last digit.
            if let Ok(again) = from_slice::<M>(&written, &most) {
                assert_eq!(serde_json::to_vec(&again).expect("as before").len(), written.len());
            }
        }
        Err(error) => {
            assert!(error.position().offset <= bytes.len() as u64);
            assert!(error.to_string().chars().all(|c| !c.is_control()));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    read::<PatchOp>(input);
    read::<BulkRequest>(input);
    read::<BulkResponse>(input);
    read::<SearchRequest>(input);
    let error = ErrorResponse::read(input);
    if let Some(detail) = error.detail {
        assert!(detail.chars().all(|c| !c.is_control()) && detail.chars().count() <= DETAIL_CHARS_MAX + 1);
    }
    assert!(error.status.is_none_or(|status| (100..600).contains(&status)));
});
