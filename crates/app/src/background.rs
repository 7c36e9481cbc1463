//! Work in the background, after the response.

use crate::ports::Ports;
use crate::telemetry::Telemetry;

/// What carries a request's platform and telemetry, and can go on with other telemetry when the request is answered.
pub(crate) trait Background<P: Ports>: Clone + 'static {
    /// The platform.
    fn ports(&self) -> &P;

    /// Where errors and counts are noted.
    fn telemetry(&self) -> &Telemetry;

    /// The same with telemetry of its own.
    fn with_telemetry(&self, telemetry: Telemetry) -> Self;

    /// Does `work` in the background. Its errors and counts are logged in a line of their own.
    fn in_background(&self, work: impl AsyncFnOnce(&Self) + 'static) {
        let client = self.with_telemetry(Telemetry::default());
        self.ports().spawn(async move {
            work(&client).await;
            let ports = client.ports();
            if let Some(line) = client.telemetry().background_line(ports.now()) {
                ports.log(&line);
            }
        });
    }
}
