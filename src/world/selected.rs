//! Which templates a selector selects, asked once for each template.
//!
//! Controllers select pods by labels again and again, and pods of one template have the same labels.

use crate::plan::PodTemplate;
use std::sync::Arc;

/// Templates by position: selected or not. Belongs to one selector; another one begins anew ([`Selected::default`]).
#[derive(Clone, Debug, Default)]
pub struct Selected {
    known: Vec<(Arc<PodTemplate>, bool)>,
}

impl Selected {
    /// Looks at templates that are new or were replaced since the last time.
    pub fn refresh(&mut self, templates: &[Arc<PodTemplate>], selects: impl Fn(&PodTemplate) -> bool) {
        for (known, template) in self.known.iter_mut().zip(templates).filter(|(known, now)| !Arc::ptr_eq(&known.0, now))
        {
            *known = (template.clone(), selects(template));
        }
        let more = templates.iter().skip(self.known.len()).map(|template| (template.clone(), selects(template)));
        self.known.extend(more);
    }

    /// Whether a template is selected.
    #[inline]
    pub fn has(&self, template: usize) -> bool {
        self.known.get(template).is_some_and(|known| known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_asked_about_once_until_it_is_replaced() {
        let template = |name: &str| Arc::new(PodTemplate { namespace: name.to_string(), ..PodTemplate::default() });
        let mut templates = vec![template("a"), template("b")];
        let (mut selected, asked) = (Selected::default(), std::cell::Cell::new(0));
        let selects = |template: &PodTemplate| {
            asked.set(asked.get() + 1);
            template.namespace == "a"
        };
        selected.refresh(&templates, selects);
        selected.refresh(&templates, selects);
        assert_eq!((selected.has(0), selected.has(1), asked.get()), (true, false, 2));
        templates[1] = template("a");
        templates.push(template("a"));
        selected.refresh(&templates, selects);
        assert_eq!((selected.has(1), selected.has(2), selected.has(3), asked.get()), (true, true, false, 4));
    }
}
