gate=http://127.0.0.1:3000 chain=http://127.0.0.1:8545
owner=0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 stranger=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
member() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
rpc() { curl -s "$chain" -H 'content-type: application/json' -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":$2}"; }

# Sign in: the service writes a message, the wallet signs it (the development chain holds both wallets' keys), the service answers a token.
sign_in() {
  message=$(curl -s "$gate/v1/challenge?address=$1&chain=eip155:31337" | member message)
  bytes=0x$(printf '%b' "$message" | od -An -v -tx1 | tr -d ' \n')
  signature=$(rpc personal_sign "[\"$bytes\",\"$1\"]" | member result)
  curl -s "$gate/v1/session" -H 'content-type: application/json' -d "{\"message\":\"$message\",\"signature\":\"$signature\"}" | member token
}
ask() { curl -s "$gate/v1/access" -H "authorization: Bearer $1" -H 'content-type: application/json' -d '{"resource":"media/season-1/hello.txt"}'; echo; }

# The owner of token 0 asks for the object, and gets a URL that opens it.
token=$(sign_in $owner)
ask "$token"
curl -s "$(ask "$token" | member url)"

# The other wallet owns nothing: 403, and what it lacks.
ask "$(sign_in $stranger)"

# The owner gives token 0 away. `tokengate watch` follows the transfer, and the same session is refused.
pad=000000000000000000000000 zero=0000000000000000000000000000000000000000000000000000000000000000
rpc eth_sendTransaction "[{\"from\":\"$owner\",\"to\":\"0x5FbDB2315678afecb367f032d93F642f64180aa3\",\"data\":\"0x23b872dd$pad${owner#0x}$pad${stranger#0x}$zero\"}]"; echo
sleep 3
ask "$token"

# And back, so that all this can be run again.
rpc eth_sendTransaction "[{\"from\":\"$stranger\",\"to\":\"0x5FbDB2315678afecb367f032d93F642f64180aa3\",\"data\":\"0x23b872dd$pad${stranger#0x}$pad${owner#0x}$zero\"}]"; echo
