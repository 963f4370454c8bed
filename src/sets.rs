//! Sets from iterators.

use std::collections::BTreeSet;

/// The items, inserted one by one. `collect` sorts them first, and for each type of item there is another sort, which is
/// some kilobytes of the program each.
pub(crate) fn set_of<T: Ord>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}
