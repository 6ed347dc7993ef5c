//! The regions of AWS by name, so that a slip of the keyboard is seen.
//!
//! Source: AWS documentation, "AWS Regions" (commercial, China, GovCloud, European Sovereign Cloud). Left out: the isolated ones,
//! which no public page lists, and any that is younger than this list.

use std::collections::BTreeMap;

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

/// The region that most ARNs name, or most registries of images, and which of both it was.
pub fn named_in<'t>(texts: impl Iterator<Item = &'t str>) -> Option<(&'static str, &'static str)> {
    let (mut arns, mut registries) = (BTreeMap::new(), BTreeMap::new());
    for text in texts {
        for (start, _) in text.match_indices("arn:aws") {
            // arn:partition:service:region:account:resource
            let name = text[start..].split(':').nth(3);
            count_region(name, &mut arns);
        }
        for (start, mark) in text.match_indices(".dkr.ecr.") {
            let name = text[start + mark.len()..].split('.').next();
            count_region(name, &mut registries);
        }
    }
    let most = |counts: BTreeMap<&'static str, u32>| counts.into_iter().rev().max_by_key(|(_, count)| *count);
    let said = |(region, _), from| (region, from);
    most(arns).map(|one| said(one, "ARNs")).or(most(registries).map(|one| said(one, "image registries")))
}

fn count_region(name: Option<&str>, counts: &mut BTreeMap<&'static str, u32>) {
    let known = name.and_then(|name| REGIONS.into_iter().find(|known| *known == name));
    known.into_iter().for_each(|known| *counts.entry(known).or_default() += 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_found_by_name_and_slips_are_not() {
        assert!(REGIONS.is_sorted());
        assert!(REGIONS.iter().all(|name| is_region(name)));
        let arn = "arn:aws:elasticloadbalancing:eu-west-3:111122223333:targetgroup/web/01";
        let image = "image: 1111.dkr.ecr.us-west-2.amazonaws.com/web";
        let role = "arn:aws:iam::111122223333:role/web";
        assert_eq!(named_in([image, role, arn].into_iter()), Some(("eu-west-3", "ARNs")));
        assert_eq!(named_in([image, role].into_iter()), Some(("us-west-2", "image registries")));
        assert_eq!(named_in([role].into_iter()), None);
        assert!(!is_region("eu-wst-1") && !is_region("eu-west-1a") && !is_region(""));
    }
}
