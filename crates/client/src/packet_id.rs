//! Packet Identifiers (MQTT 5 §2.2.1).

/// Hands out identifiers 1 to 65 535 in turn, skipping those in use, so that an identifier rests
/// as long as possible before it is used again.
#[derive(Debug, Default)]
pub(crate) struct PacketIds {
    last: u16,
    used: std::collections::HashSet<u16>,
}

impl PacketIds {
    /// A free identifier; `None` when all are in use.
    pub(crate) fn take(&mut self) -> Option<u16> {
        if self.used.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.used.insert(self.last) {
                return Some(self.last);
            }
        }
    }

    pub(crate) fn free(&mut self, id: u16) {
        self.used.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_identifier_once_and_never_zero() {
        let mut ids = PacketIds::default();
        let all: std::collections::HashSet<u16> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(all.len(), 65_535);
        assert!(!all.contains(&0));
        ids.free(77);
        assert_eq!(ids.take(), Some(77));
        assert_eq!(ids.take(), None);
    }
}
