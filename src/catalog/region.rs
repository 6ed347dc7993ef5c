//! The regions of AWS by name, so that a slip of the keyboard is seen.
//!
//! Source: AWS documentation, "AWS Regions" (commercial, China, GovCloud, European Sovereign Cloud). Left out: the isolated ones,
//! which no public page lists, and any that is younger than this list.

/// All of them, sorted by name.
pub const REGIONS: [&str; 39] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// A region of that name is known.
pub fn is_region(name: &str) -> bool {
    REGIONS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_found_by_name_and_slips_are_not() {
        assert!(REGIONS.is_sorted());
        assert!(REGIONS.iter().all(|name| is_region(name)));
        assert!(!is_region("eu-wst-1") && !is_region("eu-west-1a") && !is_region(""));
    }
}
