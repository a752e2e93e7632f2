//! What the detector of anomalies has learned, kept over restarts in `data/anomalies.json`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use session_filter::anomaly::{Baseline, BaselineSettings};

use crate::{Failure, files};

/// How often what was learned is written down. After a crash that much is learned again.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// A detector that goes on where it stopped.
pub(crate) struct Anomalies {
    pub(crate) detector: Arc<Baseline>,
    path: PathBuf,
}

impl Anomalies {
    /// Begins with what the data directory holds, or knowing nobody. What cannot be used is moved aside: it is no reason not to serve.
    pub(crate) fn new(settings: BaselineSettings, data_dir: &Path) -> Self {
        let path = data_dir.join("anomalies.json");
        let detector = match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(snapshot) => Baseline::restore(settings, snapshot),
                Err(error) => {
                    crate::say!(
                        "anomalies: `{}` is not usable, learning begins anew: {error}",
                        path.display()
                    );
                    let _ = std::fs::rename(&path, path.with_extension("unusable"));
                    Baseline::new(settings)
                }
            },
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    crate::say!("anomalies: cannot read `{}`, learning begins anew: {error}", path.display());
                }
                Baseline::new(settings)
            }
        };
        Self { detector: Arc::new(detector), path }
    }

    /// Keeps what is learned, now and then, and once more when `over` resolves.
    pub(crate) async fn keep(self, over: impl Future<Output = ()>) {
        tokio::pin!(over);
        loop {
            let is_over = tokio::select! {
                () = &mut over => true,
                () = tokio::time::sleep(KEEP_EVERY) => false,
            };
            let (detector, path) = (Arc::clone(&self.detector), self.path.clone());
            let written = tokio::task::spawn_blocking(move || write(&detector, &path)).await;
            if let Ok(Err(error)) = written {
                crate::say!("anomalies: what was learned is not kept: {error}");
            }
            if is_over {
                return;
            }
        }
    }
}

fn write(detector: &Baseline, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_vec(&detector.snapshot()).map_err(Failure::because("cannot encode it"))?;
    files::private_file(path, &text)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use session_filter::anomaly::{AnomalyDetector as _, Happening, Observation};

    use super::*;

    fn runs(detector: &Baseline, session: &str, program: &str) -> usize {
        let observe =
            |happening| detector.observe(&Observation::new("a", "t", session, happening), Utc::now()).len();
        observe(Happening::SessionStarted);
        let raised = observe(Happening::CommandStarted { program: Some(program) });
        observe(Happening::SessionEnded);
        raised
    }

    #[tokio::test]
    async fn what_was_learned_survives_a_restart_and_what_is_broken_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let settings: BaselineSettings =
            toml::from_str("learning_days = 0\nlearning_sessions = 3\n").unwrap();
        let first = Anomalies::new(settings.clone(), dir.path());
        for session in ["1", "2", "3"] {
            assert_eq!(runs(&first.detector, session, "df"), 0);
        }
        first.keep(std::future::ready(())).await;

        let second = Anomalies::new(settings.clone(), dir.path());
        assert_eq!(runs(&second.detector, "4", "df"), 0);
        assert_eq!(runs(&second.detector, "5", "nc"), 1, "a program never run before the restart");

        let file = dir.path().join("anomalies.json");
        std::fs::write(&file, "{").unwrap();
        let third = Anomalies::new(settings, dir.path());
        assert_eq!(runs(&third.detector, "6", "nc"), 0, "it knows nobody");
        assert!(!file.exists() && dir.path().join("anomalies.unusable").exists());
    }
}
