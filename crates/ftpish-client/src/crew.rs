//! Further connections beside the one that leads. They are opened when there is enough to do, each on a thread of its
//! own, and dealt files. What one of them could not do because it broke comes back, for another to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ftpish_protocol::Error as ProtocolError;

use crate::client::Options;
use crate::growth::{Change, Growth};
use crate::pipeline::{Answer, Moving, Pipeline};
use crate::{Client, Error, Progress};

/// What every open connection has to do at the least, by [`Moving::cost`], before another one is opened: less is done by
/// the time that it takes.
const OPEN_FROM: u64 = 1024 * 1024;

/// What a connection is dealt at the most, while others have no less.
const MOST_DEALT: u64 = 64 * 1024 * 1024;

/// The same while it is not known how many connections there are to be: more than is on its way over a long line.
const MOST_WHILE_GROWING: u64 = 16 * 1024 * 1024;

/// How long a wait for the others may go on before it is looked whether they live.
const LIFE_CHECK: Duration = Duration::from_secs(1);

/// A file that was dealt.
struct Work<T> {
    tag: T,
    file: Moving,
}

/// What became of it, and on which connection.
struct News<T> {
    helper: usize,
    cost: u64,
    tag: T,
    answer: Result<Answer, Error>,
    /// Whether the helper is of no more use.
    gone: bool,
}

/// A helper, as the connection that leads sees it.
struct Post<T> {
    /// Where its work goes; none once it does no more.
    work: Option<Sender<Work<T>>>,
    /// What it has yet to do.
    cost: u64,
    thread: JoinHandle<Option<Client>>,
}

/// The connections beside the one that leads. It ends with [`end`](Self::end).
pub(crate) struct Crew<T> {
    progress: Progress,
    stop: Arc<AtomicBool>,
    /// How many connections there may be beside the one that leads.
    most: usize,
    growth: Growth,
    helpers: Vec<Post<T>>,
    report: Sender<News<T>>,
    news: Receiver<News<T>>,
    /// How many files are dealt and not answered.
    dealt: usize,
    /// How many bytes of them have arrived.
    arrived: u64,
    answers: VecDeque<(T, Result<Answer, Error>)>,
}

impl<T: Send + 'static> Crew<T> {
    /// One for what `client` leads: nobody yet, and nobody at all where that is to be the only connection.
    pub(crate) fn new(client: &Client, progress: &Progress) -> Self {
        let (report, news) = channel();
        Self {
            progress: progress.beside(),
            stop: Arc::default(),
            most: client.jobs().most() - 1,
            growth: Growth::new(client.jobs()),
            helpers: Vec::new(),
            report,
            news,
            dealt: 0,
            arrived: 0,
            answers: VecDeque::new(),
        }
    }

    /// Whether the connection that leads has all to do, and always will.
    pub(crate) fn is_alone(&self) -> bool {
        self.most == 0
    }

    /// Whether others would do what the connection that leads has too much of.
    pub(crate) fn wants_more(&self, pipe: &Pipeline<'_, T>) -> bool {
        pipe.cost() >= OPEN_FROM && (self.may_open() || self.is_at_work())
    }

    fn may_open(&self) -> bool {
        self.helpers.len() < self.most.min(self.growth.wanted() - 1)
    }

    fn is_at_work(&self) -> bool {
        self.helpers.iter().any(|helper| helper.work.is_some())
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.dealt == 0
    }

    /// Whether every connection has as much to do as it may.
    pub(crate) fn is_full(&self, pipe: &Pipeline<'_, T>) -> bool {
        if !self.growth.is_open() && !self.is_at_work() {
            return false;
        }
        // What is dealt now is nothing that another connection could do later on.
        let most = if self.growth.is_open() { MOST_WHILE_GROWING } else { MOST_DEALT };
        let mut open = self.helpers.iter().filter(|helper| helper.work.is_some());
        pipe.cost() >= most && open.all(|helper| helper.cost >= most)
    }

    /// Deals a file to the connection that has the least to do, be it the one that leads.
    pub(crate) fn deal(&mut self, tag: T, file: Moving, pipe: &mut Pipeline<'_, T>) {
        // Of what is sent, that alone has arrived which was answered; the rest may be anywhere on its way.
        let arrived = match file {
            Moving::Get { .. } => self.progress.done(),
            Moving::Put { .. } => pipe.kept() + self.arrived,
        };
        if pipe.client.is_near() {
            self.growth.begin_near();
        }
        self.look(arrived);
        let open = self.helpers.iter().enumerate().filter(|(_, helper)| helper.work.is_some());
        let least = open.map(|(number, helper)| (helper.cost, number)).min();
        let least = least.filter(|(cost, _)| *cost < pipe.cost());
        let least_cost = least.map_or(pipe.cost(), |(cost, _)| cost);
        let mut helper = least.map(|(_, number)| number);
        if least_cost >= OPEN_FROM && self.may_open() {
            helper = self.open(pipe.client).or(helper);
        }
        let Some(helper) = helper.map(|number| &mut self.helpers[number]) else {
            return pipe.move_file(tag, file);
        };
        let (cost, work) = (file.cost(), Work { tag, file });
        let sent = match &helper.work {
            Some(sender) => sender.send(work),
            None => Err(SendError(work)),
        };
        match sent {
            Ok(()) => {
                helper.cost += cost;
                self.dealt += 1;
            }
            Err(SendError(Work { tag, file })) => pipe.move_file(tag, file),
        }
    }

    /// Looks whether the last connection was worth its while.
    fn look(&mut self, arrived: u64) {
        if self.growth.look(Instant::now(), arrived, None) == Change::Back
            && let Some(helper) = self.helpers.last_mut()
        {
            helper.work = None;
        }
    }

    fn open(&mut self, leader: &mut Client) -> Option<usize> {
        let Ok(options) = leader.another() else {
            // What ails the connection that leads is told where that is used.
            self.most = self.helpers.len();
            return None;
        };
        let (work, mine) = channel();
        let mut helper = Helper {
            number: self.helpers.len(),
            connected: leader.idle(),
            options,
            work: mine,
            report: self.report.clone(),
            progress: self.progress.beside(),
            kept: 0,
            stop: Arc::clone(&self.stop),
        };
        let thread = std::thread::spawn(move || helper.run());
        self.helpers.push(Post { work: Some(work), cost: 0, thread });
        Some(self.helpers.len() - 1)
    }

    /// What became of a file that was dealt, if that is known by now.
    pub(crate) fn answer(&mut self) -> Option<(T, Result<Answer, Error>)> {
        while let Ok(news) = self.news.try_recv() {
            self.note(news);
        }
        self.answers.pop_front()
    }

    /// Waits until more is known of what was dealt, unless nothing was.
    pub(crate) fn wait(&mut self) {
        while self.dealt > 0 {
            match self.news.recv_timeout(LIFE_CHECK) {
                Ok(news) => return self.note(news),
                Err(RecvTimeoutError::Timeout) => self.check_life(),
                Err(RecvTimeoutError::Disconnected) => unreachable!("one sender is here"),
            }
        }
    }

    /// Panics at what a helper has panicked at: it can tell no more of what it was dealt.
    fn check_life(&mut self) {
        let dead = self.helpers.iter().position(|helper| helper.cost > 0 && helper.thread.is_finished());
        let Some(dead) = dead else { return };
        if let Err(panic) = self.helpers.swap_remove(dead).thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn note(&mut self, News { helper, cost, tag, answer, gone }: News<T>) {
        self.dealt -= 1;
        self.helpers[helper].cost -= cost;
        if let Ok(Answer::Moved(done)) = &answer {
            self.arrived += done.moved;
        }
        if gone {
            // What kept it away would keep others away, too.
            self.helpers[helper].work = None;
            self.most = self.helpers.len();
        }
        self.answers.push_back((tag, answer));
    }

    /// Has them end what they are at, and begin nothing more. What became of the rest is [told](Self::answer) then.
    pub(crate) fn end(&mut self, leader: &mut Client) {
        self.stop.store(true, Ordering::Relaxed);
        self.most = 0;
        self.dismiss(leader);
    }

    /// Has them end what they were dealt; their connections are the leader's then.
    pub(crate) fn dismiss(&mut self, leader: &mut Client) {
        for helper in &mut self.helpers {
            helper.work = None;
        }
        while self.dealt > 0 {
            self.wait();
        }
        for helper in self.helpers.drain(..) {
            // What it panicked at, its own thread has told.
            leader.others.extend(helper.thread.join().unwrap_or_default());
        }
    }
}

/// A connection that does what it is dealt, on its own thread.
struct Helper<T> {
    number: usize,
    /// A connection that was there before.
    connected: Option<Client>,
    options: Options,
    work: Receiver<Work<T>>,
    report: Sender<News<T>>,
    progress: Progress,
    /// How many bytes it has moved for good.
    kept: u64,
    stop: Arc<AtomicBool>,
}

impl<T> Helper<T> {
    /// Works until nothing more is dealt, over one connection after the other, as long as each is of some use.
    /// The last of them is there for a next time.
    fn run(&mut self) -> Option<Client> {
        while let Ok(first) = self.work.recv() {
            let is_of_use = match self.connect() {
                Ok(mut client) => {
                    let is_of_use = self.serve(&mut client, first);
                    self.connected = Some(client).filter(|client| !client.broken);
                    is_of_use
                }
                Err(_) => {
                    self.give_back(first, true);
                    false
                }
            };
            if !is_of_use {
                break;
            }
        }
        while let Ok(work) = self.work.recv() {
            self.give_back(work, true);
        }
        self.connected.take()
    }

    fn connect(&mut self) -> Result<Client, Error> {
        let mut client = match self.connected.take() {
            Some(client) => client,
            None => Client::connect(&self.options)?,
        };
        if self.options.login.is_some() {
            // Whoever is not let in is refused all else, and that would be no answer to the files.
            client.greet()?;
        }
        Ok(client)
    }

    /// Works until the connection breaks or nothing more is dealt; whether it was of any use.
    fn serve(&mut self, client: &mut Client, first: Work<T>) -> bool {
        let mut pipe = Pipeline::new(client, &self.progress, self.kept);
        let (mut next, mut is_of_use) = (Some(first), false);
        loop {
            is_of_use |= self.tell_all(&mut pipe, is_of_use);
            if pipe.client.broken {
                break;
            }
            if pipe.is_full() {
                pipe.receive();
                continue;
            }
            match next.take().map_or_else(|| self.work.try_recv(), Ok) {
                Ok(work) if self.stop.load(Ordering::Relaxed) => self.give_back(work, false),
                Ok(Work { tag, file }) => {
                    let cost = file.cost();
                    pipe.move_file((tag, cost), file);
                }
                Err(TryRecvError::Disconnected) if pipe.is_empty() => break,
                Err(TryRecvError::Empty) if pipe.is_empty() => match self.work.recv() {
                    Ok(work) => next = Some(work),
                    Err(_) => break,
                },
                Err(_) => pipe.advance(),
            }
        }
        pipe.drain();
        is_of_use |= self.tell_all(&mut pipe, is_of_use);
        self.kept = pipe.kept();
        self.progress.fall_back(self.kept);
        is_of_use
    }

    /// Tells what became of files; whether any of them was moved.
    fn tell_all(&self, pipe: &mut Pipeline<'_, (T, u64)>, mut is_of_use: bool) -> bool {
        while let Some(((tag, cost), answer)) = pipe.answer() {
            is_of_use |= answer.is_ok();
            let gone = pipe.client.broken && !is_of_use;
            self.tell(News { helper: self.number, cost, tag, answer, gone });
        }
        is_of_use
    }

    /// Leaves a file, of which nothing is done, to the others.
    fn give_back(&self, Work { tag, file }: Work<T>, gone: bool) {
        let answer = Err(Error::Connection(ProtocolError::Closed));
        self.tell(News { helper: self.number, cost: file.cost(), tag, answer, gone });
    }

    fn tell(&self, news: News<T>) {
        // Where nobody listens, nobody waits for it.
        let _ = self.report.send(news);
    }
}
