//! Any bytes as resources. What is read is written so that it reads the same; an error has its place within the document and
//! shows nothing that acts on a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scim_client::message::{ResourceType, Schema, ServiceProviderConfig};
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::{
    DynamicResource, EnterpriseUser, Group, Resource, User, from_attributes, to_attributes,
};

fn read<R: Resource + PartialEq + std::fmt::Debug>(bytes: &[u8], limits: &ReadLimits) {
    match from_slice::<R>(bytes, limits) {
        Ok(resource) => {
            let written = serde_json::to_vec(&resource).expect("what is read can be written");
            let most = ReadLimits::default().with(|limits| limits.depth_max = 127);
            let again: R = from_slice(&written, &most).expect("what is written can be read");
            assert_eq!(again, resource);
            let attributes = to_attributes(&resource).expect("a resource is an object");
            assert_eq!(from_attributes::<R>(attributes).expect("its own attributes"), resource);
        }
        Err(error) => {
            assert!(error.position().offset <= bytes.len() as u64);
            assert!(error.position().line <= 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64);
            assert!(error.to_string().chars().all(|c| !c.is_control()));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let limits = ReadLimits::default().with(|limits| limits.values_max = 1_000);
    read::<User>(input, &limits);
    read::<Group>(input, &limits);
    read::<DynamicResource>(input, &limits);
    read::<ServiceProviderConfig>(input, &limits);
    read::<Schema>(input, &limits);
    read::<ResourceType>(input, &limits);
    if let Ok(user) = from_slice::<User>(input, &limits) {
        let _ = user.extensions.extension::<EnterpriseUser>();
    }
});
