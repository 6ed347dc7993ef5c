//! Image pulls of one node: a queue, first in first out, and the pulls under way.
//!
//! Source: `pkg/kubelet/images/puller.go` (serial by default; parallel with an optional maximum).

use crate::engine::Time;
use crate::plan::ImageId;
use crate::plan::flags::KubeletFlags;
use std::collections::VecDeque;

/// The pulls of one node.
#[derive(Clone, Debug, Default)]
pub struct Pulls {
    waiting: VecDeque<ImageId>,
    running: Vec<(ImageId, Time)>,
}

impl Pulls {
    /// Somebody wants an image; a second wish for the same one changes nothing.
    pub fn want(&mut self, image: ImageId) {
        if !self.waiting.contains(&image) && !self.is_running(image) {
            self.waiting.push_back(image);
        }
    }

    /// The pull of an image is under way.
    pub fn is_running(&self, image: ImageId) -> bool {
        self.running.iter().any(|(other, _)| *other == image)
    }

    /// The next image whose pull may begin.
    pub fn next(&mut self, flags: &KubeletFlags) -> Option<ImageId> {
        let most = if flags.serialize_image_pulls {
            1
        } else {
            flags.max_parallel_image_pulls.map_or(usize::MAX, |most| most.max(1) as usize)
        };
        if self.running.len() < most { self.waiting.pop_front() } else { None }
    }

    /// Its pull begins and ends at `end`.
    pub fn begin(&mut self, image: ImageId, end: Time) {
        self.running.push((image, end));
    }

    /// Pulls that have ended.
    pub fn ended(&mut self, now: Time) -> Vec<ImageId> {
        let ended = self.running.iter().filter(|(_, end)| *end <= now).map(|(image, _)| *image).collect();
        self.running.retain(|(_, end)| *end > now);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pull_at_a_time_in_order_and_each_image_once() {
        let flags = KubeletFlags::default();
        let second = Time::from_unix_seconds;
        let mut pulls = Pulls::default();
        [1, 2, 1].into_iter().for_each(|image| pulls.want(ImageId(image)));
        assert_eq!(pulls.next(&flags), Some(ImageId(1)));
        pulls.begin(ImageId(1), second(5));
        pulls.want(ImageId(1));
        assert_eq!(pulls.next(&flags), None, "serial");
        assert_eq!(pulls.ended(second(4)), []);
        assert_eq!(pulls.ended(second(5)), [ImageId(1)]);
        assert_eq!(pulls.next(&flags), Some(ImageId(2)));
        pulls.begin(ImageId(2), second(9));
        assert_eq!(pulls.next(&flags), None, "the second wish for image 1 was served by the first pull");
    }
}
