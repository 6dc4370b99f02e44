//! A stack that allocates only when it grows past its inline part.

/// A stack of small values: the first `N` inline, the others on the heap.
#[derive(Debug)]
pub(crate) struct InlineStack<T, const N: usize> {
    inline: [T; N],
    inline_len: usize,
    spill: Vec<T>,
}

impl<T: Copy + Default, const N: usize> InlineStack<T, N> {
    pub(crate) fn new() -> Self {
        Self { inline: [T::default(); N], inline_len: 0, spill: Vec::new() }
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.inline.get_mut(self.inline_len) {
            Some(slot) => {
                *slot = value;
                self.inline_len = self.inline_len.saturating_add(1);
            }
            None => self.spill.push(value),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if let Some(value) = self.spill.pop() {
            return Some(value);
        }
        let last = self.inline_len.checked_sub(1)?;
        self.inline_len = last;
        self.inline.get(last).copied()
    }

    /// The value at `index`, counted from the bottom.
    pub(crate) fn get(&self, index: usize) -> Option<T> {
        match index.checked_sub(N) {
            Some(spilled) => self.spill.get(spilled).copied(),
            None if index < self.inline_len => self.inline.get(index).copied(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_stack_on_both_sides_of_its_inline_part() {
        let mut stack = InlineStack::<u32, 2>::new();
        assert_eq!(stack.pop(), None);
        for round in 0..5 {
            assert_eq!(stack.get(round as usize), None);
            stack.push(round);
            assert_eq!(stack.get(round as usize), Some(round));
        }
        assert_eq!(
            (0..6).filter_map(|index| stack.get(index)).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        let popped: Vec<u32> = std::iter::from_fn(|| stack.pop()).collect();
        assert_eq!(popped, [4, 3, 2, 1, 0]);
        assert_eq!(stack.get(0), None);
    }
}
