//! Work that mostly waits for the kernel, on as many threads as there are processors.

use std::num::NonZero;
use std::thread;

/// Does the same for every item; the results come in the items' order.
///
/// # Errors
/// The first in that order; by then all other threads have ended.
pub fn for_each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let part = |part: &'_ [T]| part.iter().map(&work).collect::<anyhow::Result<Vec<R>>>();
        let parts: Vec<_> = items.chunks(share).map(|items| scope.spawn(move || part(items))).collect();
        let joined = parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of the launcher panicked"))));
        Ok(joined.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_and_one_error_is_enough() {
        let items: Vec<u32> = (0..101).collect();
        assert_eq!(for_each(&items, |n| Ok(n * 2)).unwrap(), (0..101).map(|n| n * 2).collect::<Vec<_>>());
        let error = for_each(&items, |n| if n % 40 == 39 { anyhow::bail!("{n}") } else { Ok(()) }).unwrap_err();
        assert_eq!(error.to_string(), "39");
        assert!(for_each(&[] as &[u32], |_| Ok(())).unwrap().is_empty());
    }
}
