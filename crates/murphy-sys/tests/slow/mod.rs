//! A device on which packets take their time, by a queue of netfilter's: most kernels have that, and not netem.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use murphy_sys::{
    link,
    namespace::NetNamespace,
    nfqueue::{Queue, Rule, Table},
    tap::Frames,
    traffic::Way,
};

/// How often it is looked whose time has come.
const GLANCE: Duration = Duration::from_millis(1);

/// Packets of `eth0` of a namespace wait, as long as this lives.
pub struct Slow {
    is_over: Arc<AtomicBool>,
    clerk: Option<JoinHandle<()>>,
    table: Table,
}

impl Slow {
    /// So long each, on their way out or in.
    pub fn down(namespace: &NetNamespace, way: Way, delay: Duration) -> Self {
        let devices = link::devices(namespace).expect("a namespace");
        let eth0 = devices.iter().find(|device| device.name == "eth0");
        let mut queue = Queue::open(namespace, Frames::Large).expect("a queue");
        let rule = Rule {
            way,
            device: eth0.expect("a device").index,
            queue: queue.number(),
        };
        let table = Table::make(namespace, "mphy-slow", &[rule]).expect("a table");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let clerk = thread::spawn(move || {
            let mut waiting = VecDeque::new();
            while !ends.load(Ordering::Relaxed) {
                while let Some(packet) = queue.take().expect("a packet") {
                    waiting.push_back((packet.id, Instant::now() + delay));
                }
                let is_due = |(_, due): &mut (u32, Instant)| *due <= Instant::now();
                while let Some((id, _)) = waiting.pop_front_if(is_due) {
                    queue.say(id, true).expect("a verdict");
                }
                queue.tell().expect("verdicts");
                thread::sleep(GLANCE);
            }
        });
        Self {
            is_over,
            clerk: Some(clerk),
            table,
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.clerk.take().map(JoinHandle::join);
        let _ = self.table.clear();
        let _ = self.table.remove();
    }
}
