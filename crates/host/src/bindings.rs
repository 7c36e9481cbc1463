//! The interfaces of `wit/host.wit`, as traits for the host to implement.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "tokengate:host/guest",
    imports: {
        "wasi:keyvalue": async | trappable,
        default: trappable,
    },
    with: {
        "spin:key-value/key-value.store": crate::key_value::interfaces::Handle,
        "spin:redis/redis.connection": crate::outbound_redis::Handle,
        "wasi:keyvalue/store.bucket": crate::key_value::interfaces::Handle,
        "wasi:keyvalue/atomics.cas": crate::key_value::interfaces::Cas,
    },
    require_store_data_send: true,
});
