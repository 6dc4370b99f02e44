//! Packet identifiers of QoS 2 publications received and not yet released (MQTT 5 §4.3.3).

/// The set of identifiers between PUBLISH and PUBREL. Small sets are an ascending list: clients
/// count up, so that a new identifier belongs behind the last one, and PUBREL names the first.
/// Large ones become a bitmap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreleased {
    list: Vec<u16>,
    bitmap: Option<Box<Bitmap>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bitmap {
    words: [u64; 1024],
    count: usize,
}

impl Unreleased {
    /// How many identifiers wait for their release.
    pub fn len(&self) -> usize {
        self.bitmap.as_ref().map_or(self.list.len(), |bitmap| bitmap.count)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `id` waits for its release: a PUBLISH with it is a repetition [MQTT-4.3.3-10].
    pub fn contains(&self, id: u16) -> bool {
        match &self.bitmap {
            Some(bitmap) => bitmap.contains(id),
            None => self.position(id).is_ok(),
        }
    }

    /// Adds an identifier; false when it was there.
    pub fn insert(&mut self, id: u16) -> bool {
        if let Some(bitmap) = &mut self.bitmap {
            return bitmap.insert(id);
        }
        let Err(at) = self.position(id) else { return false };
        if self.list.len() < LIST_MAX {
            self.list.insert(at, id);
            return true;
        }
        let mut bitmap = Box::new(Bitmap { words: [0; 1024], count: 0 });
        for id in self.list.drain(..).chain([id]) {
            bitmap.insert(id);
        }
        self.bitmap = Some(bitmap);
        true
    }

    /// Removes an identifier; false when it was not there.
    pub fn remove(&mut self, id: u16) -> bool {
        if let Some(bitmap) = &mut self.bitmap {
            let was_there = bitmap.remove(id);
            if bitmap.count == 0 {
                self.bitmap = None;
            }
            return was_there;
        }
        let Ok(at) = self.position(id) else { return false };
        self.list.remove(at);
        if self.list.is_empty() {
            self.list = Vec::new();
        }
        true
    }

    /// Where in the list an identifier stands, or belongs.
    fn position(&self, id: u16) -> Result<usize, usize> {
        match (self.list.first(), self.list.last()) {
            (_, None) => Err(0),
            (_, Some(last)) if *last < id => Err(self.list.len()),
            (Some(first), _) if *first == id => Ok(0),
            _ => self.list.binary_search(&id),
        }
    }
}

impl Bitmap {
    fn contains(&self, id: u16) -> bool {
        self.words[usize::from(id) / 64] >> (id % 64) & 1 == 1
    }

    /// Adds an identifier; false when it was there.
    fn insert(&mut self, id: u16) -> bool {
        let is_new = !self.contains(id);
        self.words[usize::from(id) / 64] |= 1 << (id % 64);
        self.count += usize::from(is_new);
        is_new
    }

    /// Removes an identifier; false when it was not there.
    fn remove(&mut self, id: u16) -> bool {
        let was_there = self.contains(id);
        self.words[usize::from(id) / 64] &= !(1 << (id % 64));
        self.count -= usize::from(was_there);
        was_there
    }
}

/// Identifiers kept in the list: moving these is a few cache lines.
const LIST_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 1u16..700), 0..3000)) {
            let (mut ours, mut model) = (Unreleased::default(), HashSet::new());
            for (insert, id) in steps {
                if insert {
                    prop_assert_eq!(ours.insert(id), model.insert(id));
                } else {
                    prop_assert_eq!(ours.remove(id), model.remove(&id));
                }
                prop_assert_eq!(ours.len(), model.len());
                prop_assert_eq!(ours.contains(id), model.contains(&id));
            }
        }
    }
}
