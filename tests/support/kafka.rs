//! A real Apache Kafka of one node (KRaft), in a temporary directory and on ports of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

use super::oracle::missing;

const PATIENCE: Duration = Duration::from_secs(60);

/// Id of the cluster: any 16 bytes in base 64.
const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// The broker's jars, which Maven brings once below `target/tools`; `None` if that cannot be.
fn jars() -> Option<&'static Path> {
    static JARS: OnceLock<Option<PathBuf>> = OnceLock::new();
    JARS.get_or_init(|| match bring() {
        Ok(folder) => Some(folder),
        Err(why) => {
            missing("Kafka", "apt-get install default-jre-headless maven");
            eprintln!("{why}");
            None
        }
    })
    .as_deref()
}

fn bring() -> Result<PathBuf, String> {
    let said = |program: &str, error: std::io::Error| format!("{program}: {error}");
    let java = Command::new("java").arg("-version").output();
    java.map_err(|error| said("java", error))?;
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/kafka/pom.xml");
    let text = fs::read_to_string(&pom).unwrap();
    let version = text.split("<version>").nth(2).unwrap();
    let version = version.split('<').next().unwrap();
    // `<target>/tmp` is where cargo keeps what tests make.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("tools").join(format!("kafka-{version}"));
    if folder.exists() {
        return Ok(folder);
    }
    // Several test programs may bring it at once: whole, or not at all.
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let part = TempDir::new_in(folder.parent().unwrap()).unwrap();
    let brought = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!(
            "-DoutputDirectory={}",
            part.path().join("jars").display()
        ))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| said("mvn", error))?;
    if !brought.status.success() {
        return Err(String::from_utf8_lossy(&brought.stdout).into_owned());
    }
    match fs::rename(part.path().join("jars"), &folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(folder),
    }
}

/// A broker; it ends when this is dropped.
pub struct Server {
    process: Mutex<Option<Child>>,
    jars: &'static Path,
    port: u16,
    dir: TempDir,
}

impl Server {
    /// One that runs; `None` if Kafka cannot be had.
    pub fn start() -> Option<Self> {
        let server = Self::prepare()?;
        server.run();
        Some(server)
    }

    /// One that does not run yet; `None` if Kafka cannot be had.
    pub fn prepare() -> Option<Self> {
        let jars = jars()?;
        let dir = TempDir::new().unwrap();
        let free = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (clients, controller) = (free(), free());
        let (port, inner) = (
            clients.local_addr().unwrap().port(),
            controller.local_addr().unwrap().port(),
        );
        drop((clients, controller));
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{inner}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{inner}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\nauto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nnum.network.threads=1\nnum.io.threads=2\n",
            dir.path().join("data").display()
        );
        fs::write(dir.path().join("server.properties"), settings).unwrap();
        let server = Self {
            process: Mutex::new(None),
            jars,
            port,
            dir,
        };
        let formatted = server
            .java("kafka.tools.StorageTool")
            .args(["format", "-t", CLUSTER, "-c"])
            .arg(server.dir.path().join("server.properties"))
            .output()
            .unwrap();
        assert!(
            formatted.status.success(),
            "{}",
            String::from_utf8_lossy(&formatted.stderr)
        );
        Some(server)
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts it, again after it was killed; what it held is still there.
    pub fn run(&self) {
        let child = self.java("kafka.Kafka").arg("server.properties").spawn();
        *self.process.lock().unwrap() = Some(child.unwrap());
        let start = Instant::now();
        let client: BaseConsumer = self.config().create().unwrap();
        while client
            .fetch_metadata(None, Duration::from_millis(500))
            .map_or(0, |metadata| metadata.brokers().len())
            == 0
        {
            assert!(start.elapsed() < PATIENCE, "Kafka does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL: every connection is cut at once.
    pub fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it neither answers nor goes away.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &*self.process.lock().unwrap() {
            let id = child.id().to_string();
            let sent = Command::new("kill").args([signal, &id]).status();
            assert!(sent.unwrap().success());
        }
    }

    /// Whether something listens on its port.
    pub fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers())
            .set("group.id", "of-the-test")
            .set("reconnect.backoff.max.ms", "200");
        config
    }

    /// Makes a topic and waits until it has its leaders.
    pub async fn topic(&self, name: &str, partitions: i32) {
        self.topic_with(name, partitions, &[]).await;
    }

    /// The same with these settings of the topic.
    pub async fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let made = admin
            .create_topics([&topic], &AdminOptions::new())
            .await
            .unwrap();
        made[0].as_ref().unwrap();
        let start = Instant::now();
        loop {
            let found = admin
                .inner()
                .fetch_metadata(Some(name), Duration::from_secs(5))
                .unwrap();
            let found = found.topics()[0].partitions();
            let leaders = found.iter().filter(|one| one.leader() >= 0).count();
            if i32::try_from(leaders).unwrap() == partitions {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no leaders of {name}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many events a topic has up to now.
    pub fn count(&self, topic: &str) -> i64 {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let found = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = found.topics()[0].partitions().iter();
        partitions
            .map(|partition| {
                let marks = consumer.fetch_watermarks(topic, partition.id(), PATIENCE);
                let (low, high) = marks.unwrap();
                high - low
            })
            .sum()
    }

    /// Every event of a topic up to now: key, value and headers.
    pub fn read(&self, topic: &str) -> Vec<Event> {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let found = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let mut wanted = TopicPartitionList::new();
        let mut left = 0;
        for partition in found.topics()[0].partitions() {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition.id(), PATIENCE)
                .unwrap();
            left += high - low;
            wanted
                .add_partition_offset(topic, partition.id(), Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&wanted).unwrap();
        let start = Instant::now();
        let mut events = Vec::new();
        while left > 0 {
            assert!(start.elapsed() < PATIENCE, "{left} events do not come");
            let Some(message) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            let message = message.unwrap();
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
            };
            let headers = message.headers().into_iter().flat_map(|headers| {
                let headers = headers.iter();
                headers.map(|header| (header.key.to_owned(), text(header.value)))
            });
            events.push(Event {
                key: text(message.key()),
                value: text(message.payload()),
                headers: headers.collect(),
            });
            left -= 1;
        }
        events
    }
}

/// An event of a topic.
#[derive(Debug)]
pub struct Event {
    pub key: String,
    pub value: String,
    pub headers: Vec<(String, String)>,
}

impl Event {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(key, _)| key == name)?;
        Some(value)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
