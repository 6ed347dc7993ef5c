//! TargetGroupBinding. Source: aws-load-balancer-controller `apis/elbv2/v1beta1/targetgroupbinding_types.go`.

use super::common::{metadata, selector};
use crate::plan::{TargetGroupBindingSpec, TargetGroupId};
use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;

/// A TargetGroupBinding; its target group is found by the scenario.
pub fn read_binding(node: &Node, problems: &mut Problems) -> Option<TargetGroupBindingSpec> {
    let mut object = Fields::of(node, "targetgroupbinding", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let mut fields = object.fields("spec", problems)?;
    let arn = fields.text("targetGroupARN", problems);
    let name = fields.text("targetGroupName", problems);
    if arn.is_none() && name.is_none() {
        let message = "a TargetGroupBinding needs targetGroupARN or targetGroupName";
        problems.push(Diagnostic::error("E011", fields.place(), message));
    }
    fields.required("serviceRef", problems)?;
    let mut service = fields.fields("serviceRef", problems)?;
    Some(TargetGroupBindingSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        target_group_reference: name.or(arn).unwrap_or_default(),
        target_group: TargetGroupId(u32::MAX),
        service_name: service.required_text("name", problems)?,
        service_port: service.required_text("port", problems)?,
        instance_targets: fields.choice("targetType", &[("ip", false), ("instance", true)], problems).unwrap_or(false),
        node_selector: selector(&mut fields, "nodeSelector", problems),
    })
}
