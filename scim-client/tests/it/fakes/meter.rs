//! How much is welcome: what a server counts, and when it says that it is too much.

use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use scim_client::transport::Scripted;

use super::Welcome;

pub(super) struct Meter {
    welcome: Welcome,
    time: Box<dyn Fn() -> Duration + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What there is room for, as of then.
    room: f64,
    counted: Duration,
    /// When the requests of the last minute came.
    recent: Vec<Duration>,
    refused_until: Duration,
    refused: usize,
}

impl Meter {
    pub(super) fn new(welcome: Welcome, time: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let room = if let Welcome::Writes { burst, .. } = welcome { f64::from(burst) } else { 0.0 };
        Self { welcome, time: Box::new(time), state: Mutex::new(State { room, ..State::default() }) }
    }

    /// How many were too much.
    pub(super) fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    pub(super) fn refuses(&self, method: &Method) -> Option<Scripted> {
        let mut state = self.state.lock().unwrap();
        let refusal = self.judge(&mut state, method);
        state.refused += usize::from(refusal.is_some());
        refusal
    }

    fn judge(&self, state: &mut State, method: &Method) -> Option<Scripted> {
        let now = (self.time)();
        match self.welcome {
            Welcome::Everything => None,
            Welcome::Writes { .. } if method == Method::GET => None,
            Welcome::Writes { per_minute, burst } => {
                let rate = f64::from(per_minute) / 60.0;
                let grown = (now - state.counted).as_secs_f64().mul_add(rate, state.room);
                state.room = grown.min(f64::from(burst));
                state.counted = now;
                if state.room >= 1.0 {
                    state.room -= 1.0;
                    return None;
                }
                let wait = ((1.0 - state.room) / rate).ceil();
                Some(too_many().header("retry-after", &wait.to_string()))
            }
            Welcome::All { per_minute_max } => {
                let minute = Duration::from_secs(60);
                state.recent.retain(|at| now - *at < minute);
                state.recent.push(now);
                if state.recent.len() > per_minute_max as usize {
                    state.refused_until = now + minute;
                }
                // Its documentation does not speak of `Retry-After`.
                (now < state.refused_until).then(too_many)
            }
        }
    }
}

fn too_many() -> Scripted {
    Scripted::error(429, None, "too many requests")
}
