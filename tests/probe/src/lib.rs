//! A guest that does what the host's tests and the benchmark ask of it, one thing per path. On other targets only its
//! measurements are there.

pub mod measure;

#[cfg(target_family = "wasm")]
mod probe {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use spin_sdk::experimental::wasi::config::store as config;
    use spin_sdk::experimental::wasi::keyvalue::{atomics, batch, store};
    use spin_sdk::http::{Request, Response};
    use spin_sdk::http_service;
    use spin_sdk::key_value::Store;
    use spin_sdk::redis::Connection;
    use tokengate_app::{Ports, RedisReply};
    use tokengate_core::Timestamp;
    use tokengate_guest::Spin;

    use crate::measure;

    /// Requests that this instance has seen: instances differ in it, requests of one instance share it.
    static SEEN: AtomicU64 = AtomicU64::new(0);

    type Outcome = Result<String, String>;

    fn measured(time: Result<Duration, String>) -> Outcome {
        time.map(|time| time.as_nanos().to_string())
    }

    fn now() -> Timestamp {
        let now = spin_sdk::wasip3::clocks::system_clock::now();
        Timestamp::from_second(now.seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    #[http_service]
    async fn answer(request: Request) -> Response<Full<Bytes>> {
        let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
        let query = Query(request.uri().query().unwrap_or_default().to_owned());
        let path = request.uri().path().to_owned();
        let outcome = match path.as_str() {
            "/measure/session-check" => measured(measure::session_check(
                &query.get("keys"),
                &query.get("token"),
                now(),
                query.count(),
            )),
            "/measure/recovery" => measured(measure::recovery(
                &query.get("message"),
                &query.get("signature"),
                query.count(),
            )),
            "/hello" => Ok("hello".to_owned()),
            "/seen" => Ok(seen.to_string()),
            "/echo" => echo(request).await,
            "/body" => match request.into_body().collect().await {
                Ok(body) => Ok(body.to_bytes().len().to_string()),
                Err(error) => Err(format!("{error:?}")),
            },
            "/fetch" => fetch(&query).await,
            "/kv/get" => kv_get(&query).await,
            "/kv/set" => kv_set(&query).await,
            "/kv/delete" => kv_delete(&query).await,
            "/kv/keys" => kv_keys(&query).await,
            "/kv/many" => kv_many(&query),
            "/increment" => increment(&query),
            "/swap" => swap(&query),
            "/redis/functions" => redis_functions(&query).await,
            "/redis/get" => redis_get(&query).await,
            "/redis/set" => redis_set(&query).await,
            "/redis/open" => redis_open(&query).await,
            "/redis/execute" => redis_execute(&query).await,
            "/variable" => spin_sdk::variables::get(query.get("name"))
                .await
                .map_err(|error| format!("{error:?}")),
            "/config" => match config::get(&query.get("name")) {
                Ok(value) => Ok(format!("{value:?}")),
                Err(error) => Err(format!("{error:?}")),
            },
            "/environment" => std::env::var(query.get("name")).map_err(|error| error.to_string()),
            "/file" => {
                std::fs::read_to_string(query.get("path")).map_err(|error| error.to_string())
            }
            "/write" => std::fs::write(query.get("path"), "written")
                .map(|()| String::new())
                .map_err(|error| error.to_string()),
            "/sleep" => {
                spin_sdk::time::sleep(Duration::from_millis(query.number("ms"))).await;
                Ok("slept".to_owned())
            }
            "/hang" => hang().await,
            "/compute" => loop {
                std::hint::black_box(SEEN.load(Ordering::Relaxed));
            },
            "/panic" => panic!("asked to"),
            "/fill" => {
                let mut held = Vec::new();
                while (held.len() as u64) < query.number("mib") {
                    held.push(vec![1_u8; 1 << 20]);
                }
                Ok(held.len().to_string())
            }
            "/big" => Ok("x".repeat(query.number("bytes") as usize)),
            "/healthz/startup" => match spin_sdk::variables::get("startup").await.as_deref() {
                Ok("hang") => return problem(404, &hang().await.unwrap_or_default()),
                Ok("refuse") => return problem(500, "gates.toml:3: no such chain; add it"),
                _ => return problem(404, ""),
            },
            _ => return problem(404, ""),
        };
        let (status, text) = match outcome {
            Ok(text) => (200, text),
            Err(text) => (502, text),
        };
        respond(status, "text/plain", text)
    }

    fn problem(status: u16, detail: &str) -> Response<Full<Bytes>> {
        respond(
            status,
            "application/problem+json",
            format!(r#"{{"status":{status},"detail":"{detail}"}}"#),
        )
    }

    fn respond(status: u16, kind: &str, text: String) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(text.clone())));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_LENGTH, text.len().into());
        if let Ok(kind) = kind.parse() {
            headers.insert(http::header::CONTENT_TYPE, kind);
        }
        response
    }

    async fn hang() -> Outcome {
        spin_sdk::time::sleep(Duration::from_secs(3600)).await;
        Ok("an hour later".to_owned())
    }

    struct Query(String);

    impl Query {
        fn get(&self, name: &str) -> String {
            self.0
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| {
                    percent_encoding::percent_decode_str(value)
                        .decode_utf8_lossy()
                        .into_owned()
                })
                .unwrap_or_default()
        }

        fn count(&self) -> u32 {
            self.get("count").parse().unwrap_or_default()
        }

        fn number(&self, name: &str) -> u64 {
            self.get(name).parse().unwrap_or_default()
        }

        fn store(&self) -> String {
            let label = self.get("store");
            if label.is_empty() {
                "default".to_owned()
            } else {
                label
            }
        }
    }

    async fn echo(request: Request) -> Outcome {
        let (parts, body) = request.into_parts();
        let mut text = format!("{} {}\n", parts.method, parts.uri);
        for (name, value) in &parts.headers {
            text.push_str(&format!(
                "{name}: {}\n",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
        let body = body
            .collect()
            .await
            .map_err(|error| format!("{error:?}"))?
            .to_bytes();
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&body));
        Ok(text)
    }

    /// Fetches `url`, `times` at once.
    async fn fetch(query: &Query) -> Outcome {
        let url = query.get("url");
        let times = query.number("times").max(1);
        let fetched = futures_util::future::join_all((0..times).map(|_| fetch_once(&url))).await;
        let texts: Result<Vec<_>, _> = fetched.into_iter().collect();
        texts.map(|texts| texts.join("|"))
    }

    async fn fetch_once(url: &str) -> Outcome {
        let response = spin_sdk::http::get(url)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| format!("{error:?}"))?
            .to_bytes();
        Ok(format!("{status} {}", String::from_utf8_lossy(&body)))
    }

    async fn kv_get(query: &Query) -> Outcome {
        let read = async {
            let store = Store::open(query.store()).await?;
            let exists = store.exists(query.get("key")).await?;
            Ok((exists, store.get(query.get("key")).await?))
        };
        let (exists, value) = read
            .await
            .map_err(|error: spin_sdk::key_value::Error| format!("{error:?}"))?;
        match value {
            Some(value) if exists => Ok(String::from_utf8_lossy(&value).into_owned()),
            None if !exists => Ok("none".to_owned()),
            _ => Err("exists and get disagree".to_owned()),
        }
    }

    async fn kv_set(query: &Query) -> Outcome {
        let write = async {
            Store::open(query.store())
                .await?
                .set(query.get("key"), query.get("value"))
                .await
        };
        write
            .await
            .map(|()| String::new())
            .map_err(|error| format!("{error:?}"))
    }

    async fn kv_delete(query: &Query) -> Outcome {
        let write = async {
            Store::open(query.store())
                .await?
                .delete(query.get("key"))
                .await
        };
        write
            .await
            .map(|()| String::new())
            .map_err(|error| format!("{error:?}"))
    }

    async fn kv_keys(query: &Query) -> Outcome {
        let read = async {
            Store::open(query.store())
                .await?
                .get_keys()
                .await
                .collect()
                .await
        };
        let mut keys = read.await.map_err(|error| format!("{error:?}"))?;
        keys.sort();
        Ok(keys.join(","))
    }

    /// Sets, reads and deletes several keys by the batch interface.
    fn kv_many(query: &Query) -> Outcome {
        let run = || {
            let bucket = store::open(&query.store())?;
            let entries = [("many-1", "1"), ("many-2", "2")]
                .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
            batch::set_many(&bucket, &entries)?;
            let keys = ["many-1", "many-none", "many-2"].map(str::to_owned);
            let read = batch::get_many(&bucket, &keys)?;
            batch::delete_many(&bucket, &keys)?;
            let left = batch::get_many(&bucket, &keys)?;
            let shown: Vec<String> = read
                .into_iter()
                .map(|(key, value)| {
                    format!(
                        "{key}={}",
                        value.map_or("none".into(), |value| String::from_utf8_lossy(&value)
                            .into_owned())
                    )
                })
                .collect();
            Ok((
                shown.join(","),
                left.iter().all(|(_, value)| value.is_none()),
            ))
        };
        let (shown, gone) = run().map_err(|error: store::Error| format!("{error:?}"))?;
        if gone {
            Ok(shown)
        } else {
            Err("not all keys were deleted".to_owned())
        }
    }

    fn increment(query: &Query) -> Outcome {
        let bucket = store::open(&query.store()).map_err(|error| format!("{error:?}"))?;
        let delta = query.get("delta").parse().unwrap_or(1);
        atomics::increment(&bucket, &query.get("key"), delta)
            .map(|value| value.to_string())
            .map_err(|error| format!("{error:?}"))
    }

    /// Two swaps from the same view of a key: the first succeeds, the second fails and sees the first's value.
    fn swap(query: &Query) -> Outcome {
        let run = || {
            let bucket = store::open(&query.store())?;
            let key = query.get("key");
            let first = atomics::Cas::new(&bucket, &key)?;
            let second = atomics::Cas::new(&bucket, &key)?;
            let swapped = atomics::swap(first, b"first").is_ok();
            let seen = match atomics::swap(second, b"second") {
                Ok(()) => None,
                Err(atomics::CasError::CasFailed(cas)) => cas.current()?,
                Err(atomics::CasError::StoreError(error)) => return Err(error),
            };
            Ok((swapped, seen))
        };
        let (swapped, seen) = run().map_err(|error: store::Error| format!("{error:?}"))?;
        Ok(format!(
            "{swapped},{}",
            String::from_utf8_lossy(&seen.unwrap_or_default())
        ))
    }

    /// Calls every function that Redis commands have of their own, on keys that nobody has set.
    async fn redis_functions(query: &Query) -> Outcome {
        let run = async {
            let redis = Connection::open(query.get("url")).await?;
            let mut seen = Vec::new();
            redis.set("value", [0, 0xff, b'\r', b'\n']).await?;
            seen.push(format!("get {:?}", redis.get("value").await?));
            seen.push(format!("none {:?}", redis.get("none").await?));
            seen.push(format!("incr {}", redis.incr("counter").await?));
            seen.push(format!("incr {}", redis.incr("counter").await?));
            seen.push(format!("sadd {}", redis.sadd("set", ["a", "b"]).await?));
            seen.push(format!("sadd {}", redis.sadd("set", ["b", "c"]).await?));
            let mut members = redis.smembers("set").await?;
            members.sort();
            seen.push(format!("smembers {}", members.join("")));
            seen.push(format!("srem {}", redis.srem("set", ["a", "d"]).await?));
            let of_set = redis.incr("set").await.err();
            seen.push(format!("incr of a set {of_set:?}"));
            let of_bytes = redis.incr("value").await.err();
            seen.push(format!("incr of bytes {of_bytes:?}"));
            seen.push(format!(
                "del {}",
                redis.del(["value", "none", "set"]).await?
            ));
            redis.publish("channel", "message").await?;
            Ok(seen)
        };
        run.await
            .map(|seen| seen.join("\n"))
            .map_err(|error: spin_sdk::redis::Error| format!("{error:?}"))
    }

    async fn redis_get(query: &Query) -> Outcome {
        let read = async {
            Connection::open(query.get("url"))
                .await?
                .get(query.get("key"))
                .await
        };
        read.await
            .map(|value| format!("{value:?}"))
            .map_err(|error| format!("{error:?}"))
    }

    /// Sets a value of so many bytes.
    async fn redis_set(query: &Query) -> Outcome {
        let write = async {
            Connection::open(query.get("url"))
                .await?
                .set(query.get("key"), vec![b'x'; query.number("bytes") as usize])
                .await
        };
        write
            .await
            .map(|()| String::new())
            .map_err(|error| format!("{error:?}"))
    }

    /// Opens `count` connections at once; `NUMBER` in the URL is each one's own.
    async fn redis_open(query: &Query) -> Outcome {
        let mut open = Vec::new();
        for number in 1..=query.count() {
            let url = query.get("url").replace("NUMBER", &number.to_string());
            match Connection::open(url).await {
                Ok(connection) => open.push(connection),
                Err(error) => return Err(format!("{} {error:?}", open.len())),
            }
        }
        Ok(open.len().to_string())
    }

    /// Sends a command through the service's own port. Its arguments are parted by `|`.
    async fn redis_execute(query: &Query) -> Outcome {
        let arguments = query.get("arguments");
        let arguments: Vec<&[u8]> = match arguments.as_str() {
            "" => Vec::new(),
            some => some.split('|').map(str::as_bytes).collect(),
        };
        let reply = Spin
            .redis(&query.get("url"), &query.get("command"), &arguments)
            .await
            .map_err(|error| error.to_string())?;
        let shown: Vec<String> = reply
            .into_iter()
            .map(|element| match element {
                RedisReply::Nil => "nil".to_owned(),
                RedisReply::Status(text) => format!("+{text}"),
                RedisReply::Integer(number) => format!(":{number}"),
                RedisReply::Data(data) => format!("${}", data.escape_ascii()),
            })
            .collect();
        Ok(shown.join(" "))
    }
}
