//! Segments in parallel, results in order.
//!
//! The calling thread hands out numbers and takes results strictly in their order; workers read and hash. Only so many
//! segments are on their way at a time, so that a slow one does not let the others pile up.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::thread;

use crossbeam_channel::bounded;

/// Segments on their way, for each worker.
const WINDOW: usize = 3;

/// Runs `work` over `tasks` on `threads` threads, each with a worker made by `worker`, and hands every result to `take`
/// in the order of the tasks.
///
/// # Errors
/// What `worker` returns, if no worker at all can be made.
pub(super) fn in_order<T: Send, R: Send, W, E: Send>(
    tasks: impl IntoIterator<Item = T>,
    threads: NonZeroUsize,
    worker: impl Fn() -> Result<W, E> + Sync,
    work: impl Fn(&mut W, T) -> R + Sync,
    mut take: impl FnMut(R),
) -> Result<(), E> {
    let mut tasks = tasks.into_iter().enumerate();
    if threads.get() == 1 {
        let mut worker = worker()?;
        tasks.for_each(|(_, task)| take(work(&mut worker, task)));
        return Ok(());
    }
    let window = threads.get() * WINDOW;
    let (to_workers, from_caller) = bounded::<(usize, T)>(window);
    let (to_caller, from_workers) = bounded::<(usize, R)>(window);
    thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 0..threads.get() {
            let (worker, work) = (&worker, &work);
            let (from_caller, to_caller) = (from_caller.clone(), to_caller.clone());
            running.push(scope.spawn(move || -> Result<(), E> {
                let mut worker = worker()?;
                for (at, task) in from_caller {
                    let result = work(&mut worker, task);
                    if to_caller.send((at, result)).is_err() {
                        break;
                    }
                }
                Ok(())
            }));
        }
        drop((from_caller, to_caller));

        let (mut handed_out, mut taken) = (0, 0);
        let mut waiting = BTreeMap::new();
        loop {
            while handed_out - taken < window {
                let Some(task) = tasks.next() else { break };
                if to_workers.send(task).is_err() {
                    break;
                }
                handed_out += 1;
            }
            if handed_out == taken {
                break;
            }
            // It fails only where every worker has ended, with an error that is returned below.
            let Ok((at, result)) = from_workers.recv() else { break };
            waiting.insert(at, result);
            while let Some(result) = waiting.remove(&taken) {
                take(result);
                taken += 1;
            }
        }
        drop((to_workers, from_workers));
        let ended = running
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        // One worker is enough: where another could not begin, its share was done all the same.
        let errors: Vec<E> = ended.filter_map(Result::err).collect();
        match errors.into_iter().next() {
            Some(error) if handed_out != taken || tasks.next().is_some() => Err(error),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run(threads: usize, count: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        let work = |_: &mut (), task: usize| {
            if task.is_multiple_of(7) {
                thread::yield_now();
            }
            task * 2
        };
        let threads = NonZeroUsize::new(threads).unwrap();
        in_order(0..count, threads, || Ok::<(), ()>(()), work, |result| taken.push(result)).unwrap();
        taken
    }

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        for threads in [1, 2, 5] {
            for count in [0, 1, 2, 500] {
                assert_eq!(
                    run(threads, count),
                    (0..count).map(|n| n * 2).collect::<Vec<_>>(),
                    "{threads} threads"
                );
            }
        }
    }

    #[test]
    fn one_slow_task_does_not_let_the_others_pile_up() {
        let begun = AtomicUsize::new(0);
        let threads = NonZeroUsize::new(2).unwrap();
        let most = 2 * WINDOW;
        let work = |_: &mut (), task: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            if task == 0 {
                // Nothing can be taken before this is done, so no more than the window may ever begin.
                for _ in 0..1_000 {
                    assert!(begun.load(Ordering::SeqCst) <= most);
                    thread::yield_now();
                }
            }
        };
        in_order(0..200, threads, || Ok::<(), ()>(()), work, drop).unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 200);
    }

    #[test]
    fn workers_that_cannot_begin_are_an_error_only_where_none_can() {
        let made = AtomicUsize::new(0);
        let threads = NonZeroUsize::new(3).unwrap();
        let second_only = || if made.fetch_add(1, Ordering::SeqCst) == 1 { Ok(()) } else { Err("no memory") };
        let mut taken = 0;
        in_order(0..50, threads, second_only, |_: &mut (), _| (), |()| taken += 1).unwrap();
        assert_eq!(taken, 50);
        assert_eq!(in_order(0..50, threads, || Err::<(), _>("none"), |_, _| (), drop), Err("none"));
    }
}
