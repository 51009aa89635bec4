#!/usr/bin/env bash
# Makes the test credentials: a CA for each trust domain, and one X509-SVID of every good and of
# every bad kind. Needs bash and the openssl program; takes a few seconds.
#
#   certs/make.sh DIRECTORY
#
# For each row of the tables below:
#   DIRECTORY/NAME.pem              the certificate, and behind it the intermediates of its chain
#   DIRECTORY/NAME.key              its private key
# For each trust domain:
#   DIRECTORY/DOMAIN.bundle.pem     its trust anchors
#   DIRECTORY/DOMAIN.ca.key         the root's key, to issue more with
# For prod.example:
#   DIRECTORY/NAME.crl              CRLs for it, good and bad
#   DIRECTORY/NAME.bundle           files to be given as its bundle, JSON or PEM, good and bad
# And the lists of it all:
#   DIRECTORY/manifest.tsv          NAME, "ok" or the reason of the refusal, a sentence
#   DIRECTORY/crls.tsv              NAME, what it means for the SVID "web" ("ok", the reason of the
#                                   refusal, or "unusable" for a file that can't be loaded), a sentence
#   DIRECTORY/bundles.tsv           NAME, what it means for "web" (as above), a sentence
#
# The keys are for tests: every run makes new ones, and none is ever committed.
set -euo pipefail
umask 077

if [ $# -ne 1 ]; then
    echo "usage: certs/make.sh DIRECTORY" >&2
    exit 2
fi
mkdir -p "$1"
cd "$1"
out=$PWD
work=$(mktemp -d "$out/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The host's OpenSSL configuration shall change nothing here.
export OPENSSL_CONF=/dev/null

# ---- How a certificate is made ----------------------------------------------------------------

# issue NAME ISSUER [setting=value]...: makes $work/NAME.crt and $work/NAME.key, signed by ISSUER
# ("self": by its own key). What a row does not set is what a plain SVID has.
issue() {
    local name=$1 issuer=$2
    shift 2
    local key=p256 digest=sha256 subject="/O=bulkhead tests/CN=$name" from='' to=''
    local san='URI:spiffe://prod.example/ns/shop/sa/web' bc='critical,CA:FALSE'
    local ku='critical,digitalSignature' eku='serverAuth,clientAuth' aki=keyid more=''
    [ $# -eq 0 ] || local "$@"

    local new
    case $key in
    p256) new='ec -pkeyopt ec_paramgen_curve:P-256' ;;
    p384) new='ec -pkeyopt ec_paramgen_curve:P-384' ;;
    p521) new='ec -pkeyopt ec_paramgen_curve:P-521' ;;
    secp256k1) new='ec -pkeyopt ec_paramgen_curve:secp256k1' ;;
    explicit) new='ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit' ;;
    *) new=$key ;; # rsa:2048, ed25519
    esac
    {
        printf '[req]\ndistinguished_name = dn\n[dn]\n[ext]\n'
        [ -z "$bc" ] || echo "basicConstraints = $bc"
        [ -z "$ku" ] || echo "keyUsage = $ku"
        [ -z "$eku" ] || echo "extendedKeyUsage = $eku"
        [ -z "$san" ] || echo "subjectAltName = $san"
        [ "$issuer" = self ] || echo "authorityKeyIdentifier = $aki"
        [ "$aki" = none ] && echo 'subjectKeyIdentifier = none' || echo 'subjectKeyIdentifier = hash'
        printf '%b\n' "$more"
    } >"$work/$name.conf"

    # $new holds several words.
    # shellcheck disable=SC2086
    if [ -n "$from" ]; then
        openssl req -new -newkey $new -nodes -keyout "$work/$name.key" -subj "$subject" \
            -config "$work/$name.conf" -out "$work/$name.csr" 2>/dev/null
        sign_with_dates "$name" "$issuer" "$from" "$to"
    elif [ "$issuer" = self ]; then
        openssl req -x509 -newkey $new -nodes -keyout "$work/$name.key" -subj "$subject" -days 30 \
            "-$digest" -config "$work/$name.conf" -extensions ext -out "$work/$name.crt" 2>/dev/null
    else
        openssl req -x509 -newkey $new -nodes -keyout "$work/$name.key" -subj "$subject" -days 30 \
            "-$digest" -config "$work/$name.conf" -extensions ext -out "$work/$name.crt" \
            -CA "$work/$issuer.crt" -CAkey "$work/$issuer.key" 2>/dev/null
    fi
}

# Only `openssl ca` of OpenSSL 3.0 takes a start and an end.
sign_with_dates() {
    local name=$1 issuer=$2 from=$3 to=$4
    local by=(-cert "$work/$issuer.crt" -keyfile "$work/$issuer.key")
    [ "$issuer" != self ] || by=(-selfsign -keyfile "$work/$name.key")
    : >"$work/index.txt"
    cat >"$work/ca.conf" <<CONF
[ca]
default_ca = test
[test]
database = $work/index.txt
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
organizationName = optional
commonName = optional
CONF
    openssl ca -batch -notext -config "$work/ca.conf" -preserveDN "${by[@]}" \
        -startdate "$from" -enddate "$to" -extfile "$work/$name.conf" -extensions ext \
        -in "$work/$name.csr" -out "$work/$name.crt" 2>/dev/null
}

# root NAME DOMAIN [setting=value]...: a trust anchor.
root() {
    local name=$1 domain=$2
    shift 2
    issue "$name" self "subject=/O=$domain/CN=$domain root" "san=URI:spiffe://$domain" \
        bc='critical,CA:TRUE' ku='critical,keyCertSign,cRLSign' eku='' "$@"
    : >"$work/$name.chain"
}

# intermediate NAME ISSUER [setting=value]...: a signing certificate below ISSUER.
intermediate() {
    local name=$1 issuer=$2
    shift 2
    issue "$name" "$issuer" "subject=/O=prod.example/CN=$name" san='URI:spiffe://prod.example' \
        bc='critical,CA:TRUE' ku='critical,keyCertSign,cRLSign' eku='' "$@"
    cat "$work/$name.crt" "$work/$issuer.chain" >"$work/$name.chain"
}

# svid NAME REASON ISSUER SENTENCE [setting=value]...: one row of the tables.
svid() {
    local name=$1 reason=$2 issuer=$3 sentence=$4
    shift 4
    issue "$name" "$issuer" "$@"
    publish "$name" "$reason" "$issuer" "$sentence"
}

# publish NAME REASON ISSUER SENTENCE: chain, key and manifest row of $work/NAME.crt.
publish() {
    cat "$work/$1.crt" "$work/$3.chain" >"$out/$1.pem"
    cp "$work/$1.key" "$out/$1.key"
    printf '%s\t%s\t%s\n' "$1" "$2" "$4" >>"$work/manifest.tsv"
}

# resign NAME ISSUER FROM TO: changes the signed part of $work/NAME.crt (both given in hexadecimal
# and equally long) and signs it again: for what the openssl program does not make by itself.
resign() {
    local name=$1 issuer=$2 from=$3 to=$4 tbs algorithm signature
    openssl x509 -in "$work/$name.crt" -outform DER -out "$work/old.der"
    tbs=$(openssl asn1parse -inform DER -in "$work/old.der" -strparse 4 -noout -out /dev/stdout | hex)
    unhex "${tbs/$from/$to}" >"$work/tbs.der"
    signature=$(openssl dgst -sha256 -sign "$work/$issuer.key" "$work/tbs.der" | hex)
    algorithm=300a06082a8648ce3d040302 # ecdsa-with-SHA256
    unhex "$(der 30 "$(hex <"$work/tbs.der")$algorithm$(der 03 "00$signature")")" |
        openssl x509 -inform DER -out "$work/$name.crt"
}
hex() { od -An -v -tx1 | tr -d ' \n'; }
# shellcheck disable=SC2001,SC2059 # the format is made of \x escapes only
unhex() { printf "$(sed 's/../\\x&/g' <<<"$1")"; }
# der TAG CONTENT: one DER element, in hexadecimal.
der() {
    local length=$((${#2} / 2))
    if [ $length -lt 128 ]; then
        printf '%s%02x%s' "$1" $length "$2"
    elif [ $length -lt 256 ]; then
        printf '%s81%02x%s' "$1" $length "$2"
    else
        printf '%s82%04x%s' "$1" $length "$2"
    fi
}
# san_hex URI-IN-HEX: a subjectAltName with one URI, whatever its bytes.
san_hex() { printf 'DER:%s' "$(der 30 "$(der 86 "$1")")"; }

: >"$work/manifest.tsv"
self=self
: >"$work/self.chain"
id=spiffe://prod.example/ns/shop/sa
past=20200101000000Z
later=20200201000000Z
future=20990101000000Z
forever=99991231235959Z

# ---- The trust domains ------------------------------------------------------------------------

root prod prod.example
# The next root of the same name (a rotation), and an old one that has expired: all three stand in
# the bundle, and a chain to either of the first two is good.
root prod-next prod.example
root prod-old prod.example from=$past to=$later
root partner partner.example
root evil evil.example
# Istio's and Vault's roots have no SPIFFE ID of their own.
root plain prod.example subject='/O=cluster.local' san=''
# A stranger who calls his CA by our CA's name.
root impostor prod.example

cat "$work/prod-old.crt" "$work/prod.crt" "$work/prod-next.crt" "$work/plain.crt" \
    >prod.example.bundle.pem
cp "$work/partner.crt" partner.example.bundle.pem
cp "$work/evil.crt" evil.example.bundle.pem
cp "$work/prod.key" prod.example.ca.key
cp "$work/partner.key" partner.example.ca.key
cp "$work/evil.key" evil.example.ca.key

intermediate prod-issuing prod
intermediate prod-regional prod
intermediate prod-cluster prod-regional
intermediate plain-issuing plain subject='/O=cluster.local/CN=issuing' san=''

# ---- Good ones --------------------------------------------------------------------------------

for name in web orders payments wiki batch mobile canary; do
    svid "$name" ok prod "the service $name of the shop" "san=URI:$id/$name"
done
svid partner-web ok partner 'a service of the partner' san='URI:spiffe://partner.example/ns/shop/sa/web'
svid rsa-2048 ok prod 'an RSA key of 2048 bits' key=rsa:2048
svid p-384 ok prod 'a P-384 key' key=p384
svid p-521 ok prod 'a P-521 key' key=p521
svid ed25519 ok prod 'an Ed25519 key' key=ed25519
svid next-root ok prod-next 'from the second of two anchors with one name'
svid one-intermediate ok prod-issuing 'below one intermediate'
svid two-intermediates ok prod-cluster 'below two intermediates'
svid many-sans ok prod 'DNS, IP and e-mail SANs beside the one URI' \
    "san=DNS:web.shop.svc,IP:192.0.2.1,email:web@shop.example,URI:$id/web"
svid no-eku ok prod 'no extendedKeyUsage at all' eku=''
svid no-basic-constraints ok prod 'no basicConstraints: cA is false then' bc=''
svid odd-segments ok prod 'segments that look odd and are valid' "san=URI:$id/.../.a/..b/-/_"
svid domain-like-ip ok prod 'a path segment that looks like an address' "san=URI:$id/192.0.2.1"
long=$(printf '%2048s' '' | tr ' ' a)
svid id-2048-bytes ok prod 'an ID of 2048 bytes, the longest' "san=URI:$id/${long:$((${#id} + 1))}"
svid far-future ok prod 'notAfter at the end of time' from=20200101000000Z to=$forever
svid no-aki ok prod 'no key identifiers' aki=none

# As issuers in the field shape them.
svid spire ok prod 'as SPIRE issues it' 'subject=/C=US/O=SPIRE' \
    ku='critical,digitalSignature,keyEncipherment,keyAgreement'
svid istio ok plain-issuing 'as Istio issues it: no subject, so the SAN is critical' subject=/ \
    "san=critical,URI:$id/web" ku='critical,digitalSignature,keyEncipherment' key=rsa:2048
svid consul ok prod-issuing 'as Consul Connect issues it' \
    subject='/CN=web.svc.default.11111111.consul' \
    ku='critical,digitalSignature,keyEncipherment,dataEncipherment,keyAgreement' \
    san='URI:spiffe://prod.example/ns/default/dc/dc1/svc/web,DNS:web.svc.default.11111111.consul'
svid cert-manager ok plain 'as cert-manager csi-driver-spiffe issues it' subject=/ \
    "san=critical,URI:$id/web" ku='critical,digitalSignature,keyEncipherment'
svid vault ok plain 'as the PKI engine of Vault issues it' bc='' \
    ku='critical,digitalSignature,keyEncipherment,keyAgreement' eku='serverAuth,clientAuth' \
    "san=DNS:web.shop.svc,URI:$id/web" \
    more='authorityInfoAccess = caIssuers;URI:http://vault.test/v1/pki/ca\ncrlDistributionPoints = URI:http://vault.test/v1/pki/crl'

# ---- Bad ones: which certificate is no SVID ---------------------------------------------------

svid linkerd svid_no_uri_san prod "as Linkerd's default issuer shapes it: a DNS SAN only" \
    ku='critical,digitalSignature,keyEncipherment' \
    san='DNS:web.shop.serviceaccount.identity.linkerd.cluster.local'
svid kuma svid_multiple_uri_sans prod "as Kuma's built-in CA shapes it: two URI SANs" subject=/ \
    ku='critical,digitalSignature,keyEncipherment,keyAgreement' \
    san='critical,URI:spiffe://prod.example/web,URI:kuma://kuma.io/service/web'
svid two-ids svid_multiple_uri_sans prod 'two SPIFFE IDs' "san=URI:$id/web,URI:$id/orders"
svid same-id-twice svid_multiple_uri_sans prod 'the same SPIFFE ID twice' "san=URI:$id/web,URI:$id/web"
svid id-and-url svid_multiple_uri_sans prod 'a SPIFFE ID and a URL' "san=URI:$id/web,URI:https://web.example/"
svid no-san svid_no_uri_san prod 'no SAN extension' san=''
svid id-in-common-name svid_no_uri_san prod 'the ID stands in the common name only' san='' \
    'subject=/CN=spiffe:\/\/prod.example\/ns\/shop\/sa\/web'
svid id-in-dns-name svid_no_uri_san prod 'a DNS SAN that would print like a URI SAN' san=@names \
    "more=[names]\nDNS.1 = \"web, URI:$id/web\""
svid id-in-email svid_no_uri_san prod 'the ID stands in an e-mail SAN' \
    'san=email:spiffe@prod.example'
svid id-in-other-name svid_no_uri_san prod 'the ID stands in an otherName SAN' \
    "san=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:$id/web"
svid url svid_bad_spiffe_id prod 'a URL is no SPIFFE ID' san='URI:https://prod.example/ns/shop/sa/web'
svid no-scheme svid_bad_spiffe_id prod 'no scheme' san='URI://prod.example/ns/shop/sa/web'
svid empty-uri svid_bad_spiffe_id prod 'a URI SAN of no bytes' "san=$(san_hex '')"
svid scheme-alone svid_bad_spiffe_id prod 'a scheme and nothing else' san='URI:spiffe://'
svid no-domain svid_bad_spiffe_id prod 'no trust domain' san='URI:spiffe:///ns/shop/sa/web'
svid upper-scheme svid_bad_spiffe_id prod 'upper case in the scheme' san='URI:SPIFFE://prod.example/ns/shop/sa/web'
svid upper-domain svid_bad_spiffe_id prod 'upper case in the trust domain' san='URI:spiffe://Prod.example/ns/shop/sa/web'
svid user-info svid_bad_spiffe_id prod 'user information' san='URI:spiffe://root@prod.example/ns/shop/sa/web'
svid port svid_bad_spiffe_id prod 'a port' san='URI:spiffe://prod.example:443/ns/shop/sa/web'
svid percent-domain svid_bad_spiffe_id prod 'percent-encoding in the trust domain' san='URI:spiffe://prod%2eexample/ns/shop/sa/web'
svid domain-256-bytes svid_bad_spiffe_id prod 'a trust domain of 256 bytes' "san=URI:spiffe://${long:0:256}/web"
svid query svid_bad_spiffe_id prod 'a query' "san=URI:$id/web?admin=1"
svid fragment svid_bad_spiffe_id prod 'a fragment' "san=@names" "more=[names]\nURI.1 = \"$id/web#admin\""
svid percent-path svid_bad_spiffe_id prod 'percent-encoding in the path' "san=URI:$id/w%65b"
svid empty-segment svid_bad_spiffe_id prod 'an empty segment' san='URI:spiffe://prod.example/ns//sa/web'
svid dot-segment svid_bad_spiffe_id prod 'a segment "."' "san=URI:$id/./web"
svid dot-dot-segment svid_bad_spiffe_id prod 'a segment ".."' "san=URI:$id/wiki/../web"
svid trailing-slash svid_bad_spiffe_id prod 'a slash at the end' "san=URI:$id/web/"
svid root-path svid_bad_spiffe_id prod 'a path of one slash' san='URI:spiffe://prod.example/'
svid no-path svid_no_path prod 'the ID of a trust domain, not of a workload' san='URI:spiffe://prod.example'
svid id-2049-bytes svid_bad_spiffe_id prod 'an ID of 2049 bytes' "san=URI:$id/${long:${#id}}"
svid id-20000-bytes svid_bad_spiffe_id prod 'an ID of 20,000 bytes' \
    "san=URI:$id/$(printf '%20000s' '' | tr ' ' a)"
web=$(printf '%s' "$id/web" | hex)
svid nul-at-end svid_bad_spiffe_id prod 'a NUL byte at the end' "san=$(san_hex "${web}00")"
svid nul-in-uri svid_bad_spiffe_id prod 'a NUL byte, and another name behind it' \
    "san=$(san_hex "${web}00$(printf .evil.example | hex)")"
svid newline svid_bad_spiffe_id prod 'a line end, to forge a log line' \
    "san=$(san_hex "${web}0a$(printf '{"decision":"allow"}' | hex)")"
svid non-ascii svid_bad_spiffe_id prod 'bytes beyond ASCII, no UTF-8 either' "san=$(san_hex "${web}c3ff")"
svid forged-subject svid_bad_spiffe_id prod 'quotes, line ends and escapes in the subject' \
    "san=URI:$id/web?" 'subject=/O="}{\\\\/CN=x
{"event":"close","decision":"allow"}'

svid ca-true svid_leaf_is_ca prod 'basicConstraints: cA' bc='critical,CA:TRUE'
svid key-cert-sign svid_key_usage_signs prod 'keyUsage: keyCertSign' ku='critical,digitalSignature,keyCertSign'
svid crl-sign svid_key_usage_signs prod 'keyUsage: cRLSign' ku='critical,digitalSignature,cRLSign'
svid no-key-usage svid_no_key_usage prod 'no keyUsage' ku=''
svid key-usage-not-critical svid_key_usage_not_critical prod 'keyUsage is not critical' ku=digitalSignature
svid no-digital-signature svid_key_usage_no_digital_signature prod 'keyUsage lacks digitalSignature' \
    ku='critical,keyEncipherment'
svid eku-client-only svid_extended_key_usage prod 'extendedKeyUsage: clientAuth alone' eku=clientAuth
svid eku-server-only svid_extended_key_usage prod 'extendedKeyUsage: serverAuth alone' eku=serverAuth
svid eku-email-only svid_extended_key_usage prod 'extendedKeyUsage: e-mail alone' eku=emailProtection
svid eku-any svid_extended_key_usage prod 'extendedKeyUsage: any' eku=anyExtendedKeyUsage
svid san-not-critical svid_san_not_critical prod 'an empty subject and a SAN that is not critical' subject=/

# ---- Bad ones: broken encodings ---------------------------------------------------------------

issue version-1 prod
resign version-1 prod a003020102 a003020100
publish version-1 svid_version prod 'version 1, with extensions'
issue san-twice prod "more=2.5.29.99 = $(san_hex "$(printf '%s' "$id/orders" | hex)")"
resign san-twice prod 0603551d63 0603551d11 # 2.5.29.99 becomes 2.5.29.17
publish san-twice svid_malformed prod 'two SAN extensions'
svid san-trailing-bytes svid_malformed prod 'bytes behind the SAN' "san=$(san_hex "$web")0500"
svid san-1000-names svid_malformed prod 'a SAN of a thousand names' \
    "san=$(printf 'DNS:n%d.example,' {1..999})URI:$id/web"
svid san-garbage svid_malformed prod 'a SAN that is no list of names' san=DER:0c0161
svid key-usage-garbage svid_malformed prod 'a keyUsage that is no bit string' ku=critical,DER:0c0161
issue key-usage-twice prod more='2.5.29.99 = critical,DER:03020780'
resign key-usage-twice prod 0603551d63 0603551d0f # 2.5.29.99 becomes 2.5.29.15
publish key-usage-twice svid_malformed prod 'two keyUsage extensions'

# ---- Bad ones: keys and signatures ------------------------------------------------------------

svid rsa-1024 svid_weak_key prod 'an RSA key of 1024 bits' key=rsa:1024
svid secp256k1 svid_weak_key prod 'a key on a curve that TLS does not use' key=secp256k1
svid explicit-curve svid_weak_key prod 'a curve written out instead of named' key=explicit
svid sha1-signature svid_weak_key prod 'signed with SHA-1' digest=sha1
issue bad-signature prod
resign bad-signature impostor a003020102 a003020102
publish bad-signature svid_bad_signature prod "signed with a key that is not the issuer's"

# ---- Bad ones: time ---------------------------------------------------------------------------

svid expired svid_expired prod 'expired' from=$past to=$later
svid not-yet-valid svid_not_yet_valid prod 'not yet valid' from=$future to=$forever
svid old-root svid_expired prod-old 'below an anchor that has expired'
intermediate expired-issuing prod from=$past to=$later
svid intermediate-expired svid_expired expired-issuing 'below an expired intermediate'
intermediate future-issuing prod from=$future to=$forever
svid intermediate-not-yet-valid svid_not_yet_valid future-issuing 'below an intermediate that is not yet valid'

# ---- Bad ones: who issued it ------------------------------------------------------------------

svid self-signed svid_untrusted $self 'signed by itself'
svid impostor-ca svid_untrusted impostor "another CA that bears our CA's name"
svid impostor-ca-no-aki svid_bad_signature impostor "the same, without key identifiers" aki=none
svid partner-mints-ours svid_untrusted partner "our ID, from the partner's CA"
svid we-mint-partners svid_untrusted prod "the partner's ID, from our CA" san='URI:spiffe://partner.example/ns/shop/sa/web'
svid other-domain svid_unknown_trust_domain evil 'a trust domain without a bundle here' \
    san='URI:spiffe://evil.example/ns/shop/sa/web'
svid evil-mints-ours svid_untrusted evil 'our ID, from a CA that nobody knows'
svid sub-domain svid_unknown_trust_domain prod 'a domain below ours is another trust domain' \
    san='URI:spiffe://sub.prod.example/ns/shop/sa/web'
cp "$work/self.chain" "$work/missing.chain"
issue missing-intermediate prod-issuing
publish missing-intermediate svid_untrusted missing 'the intermediate was not sent'
cat "$work/web.crt" >"$work/web.chain"
svid leaf-as-issuer svid_issuer_not_ca web "issued by another workload's SVID"
intermediate no-cert-sign prod ku='critical,digitalSignature'
svid issuer-lacks-cert-sign svid_issuer_not_ca no-cert-sign 'the issuer lacks keyCertSign'
intermediate not-a-ca prod bc='critical,CA:FALSE'
svid issuer-not-ca svid_issuer_not_ca not-a-ca 'the issuer has cA=false'
intermediate pathlen-0 prod bc='critical,CA:TRUE,pathlen:0'
intermediate below-pathlen-0 pathlen-0
svid path-length svid_issuer_not_ca below-pathlen-0 'the path is longer than an issuer permits'
intermediate issuer-id-path prod san='URI:spiffe://prod.example/issuer'
svid issuer-id-with-path svid_issuer_id issuer-id-path "an intermediate whose SPIFFE ID has a path"
intermediate issuer-id-partner prod san='URI:spiffe://partner.example'
svid issuer-id-of-another-domain svid_issuer_id issuer-id-partner "an intermediate of ours that names the partner's domain"
intermediate permits-partner prod more='nameConstraints = critical,permitted;URI:partner.example'
svid name-constraints svid_name_constraints permits-partner "outside the names that its issuer may use"
intermediate excludes-us prod more='nameConstraints = critical,excluded;URI:prod.example'
svid name-excluded svid_name_constraints excludes-us 'a name that its issuer may not use'
intermediate email-issuing prod eku=emailProtection
svid intermediate-for-email svid_purpose email-issuing 'below an intermediate for e-mail only'
svid critical-extension svid_critical_extension prod 'an unknown critical extension' \
    more='1.3.6.1.4.1.55555.1 = critical,DER:0500'
intermediate odd-issuing prod more='1.3.6.1.4.1.55555.1 = critical,DER:0500'
svid intermediate-critical-extension svid_critical_extension odd-issuing \
    'an unknown critical extension in an intermediate'
intermediate weak-issuing prod key=rsa:1024
svid intermediate-weak-key svid_weak_key weak-issuing 'below an intermediate with an RSA key of 1024 bits'
intermediate deep-1 prod
for depth in 2 3 4 5 6; do
    intermediate "deep-$depth" "deep-$((depth - 1))"
done
svid chain-too-long svid_chain_too_long deep-6 'a chain of seven certificates'

# ---- Certificates that a CRL revokes; good as long as none is asked ----------------------------

svid revoked ok prod 'revoked by the CRL "revoking"'
svid revoked-below-intermediate ok prod-issuing 'revoked by the CRL "revoking", by its own issuer'
intermediate revoked-issuing prod
svid below-revoked-intermediate ok revoked-issuing 'below an intermediate that the CRL "revoking" revokes'

mv "$work/manifest.tsv" manifest.tsv

# ---- CRLs of prod.example -----------------------------------------------------------------------

# one_crl ISSUER [setting=value]...: a CRL of ISSUER, in PEM, to the standard output. revoke names
# certificates (NAME or NAME,reason); key is whose key signs.
one_crl() {
    local issuer=$1 revoke='' key=$1 from='' to=$forever more=''
    shift
    [ $# -eq 0 ] || local "$@"
    local entry serial
    : >"$work/crl-index.txt"
    for entry in $revoke; do
        serial=$(openssl x509 -in "$work/${entry%%,*}.crt" -noout -serial)
        printf 'R\t991231235959Z\t260101000000Z%s\t%s\tunknown\t/CN=%s\n' \
            "$(grep -o ',.*' <<<"$entry" || true)" "${serial#serial=}" "${entry%%,*}" >>"$work/crl-index.txt"
    done
    echo 01 >"$work/crl-number.txt"
    cat >"$work/crl.conf" <<CONF
[ca]
default_ca = test
[test]
database = $work/crl-index.txt
crlnumber = $work/crl-number.txt
default_md = sha256
crl_extensions = ext
[ext]
authorityKeyIdentifier = keyid
$more
CONF
    [ -n "$from" ] || from=$past
    # The issuer's certificate with another's key is refused by `openssl ca`: then it is signed again.
    openssl ca -gencrl -config "$work/crl.conf" -cert "$work/$issuer.crt" -keyfile "$work/$issuer.key" \
        -crl_lastupdate "$from" -crl_nextupdate "$to" -out "$work/new.crl" 2>/dev/null
    [ "$key" = "$issuer" ] || resign_crl "$work/new.crl" "$key" ''
    cat "$work/new.crl"
}

# resign_crl FILE KEY CUT: takes CUT (hexadecimal) out of the signed part, and signs it with KEY's key.
resign_crl() {
    local tbs content algorithm=300a06082a8648ce3d040302 # ecdsa-with-SHA256
    openssl crl -in "$1" -outform DER -out "$work/old-crl.der"
    tbs=$(openssl asn1parse -inform DER -in "$work/old-crl.der" -strparse \
        "$(openssl asn1parse -inform DER -in "$work/old-crl.der" | sed -n '2s/^ *\([0-9]*\):.*/\1/p')" \
        -noout -out /dev/stdout | hex)
    case ${tbs:2:2} in
    81) content=${tbs:6} ;;
    82) content=${tbs:8} ;;
    *) content=${tbs:4} ;;
    esac
    [ -z "$3" ] || content=${content/$3/}
    unhex "$(der 30 "$content")" >"$work/tbs-crl.der"
    local signature
    signature=$(openssl dgst -sha256 -sign "$work/$2.key" "$work/tbs-crl.der" | hex)
    unhex "$(der 30 "$(hex <"$work/tbs-crl.der")$algorithm$(der 03 "00$signature")")" |
        openssl crl -inform DER -out "$1"
}

# crl NAME MEANING SENTENCE: the manifest row of $out/NAME.crl.
crl() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$work/crls.tsv"; }

# other_crls: of every CA that is in force, but prod.
other_crls() {
    local ca
    for ca in prod-next plain prod-issuing prod-regional prod-cluster plain-issuing revoked-issuing; do
        one_crl "$ca"
    done
}

: >"$work/crls.tsv"
{ one_crl prod && other_crls; } >empty.crl
crl empty ok 'every CA has one, and nothing is revoked'
{
    one_crl prod revoke='revoked,keyCompromise revoked-issuing,CACompromise'
    one_crl prod-issuing revoke=revoked-below-intermediate
    for ca in prod-next plain prod-regional prod-cluster plain-issuing revoked-issuing; do
        one_crl $ca
    done
} >revoking.crl
crl revoking ok 'revokes "revoked", "revoked-below-intermediate" and the intermediate "revoked-issuing"'
one_crl prod >root-only.crl
crl root-only ok 'of the root alone: what an intermediate issued has none'
one_crl prod | openssl crl -outform DER -out der.crl
crl der ok 'one CRL in DER'
one_crl prod revoke=web >web-revoked.crl
crl web-revoked svid_revoked 'revokes "web" itself'
one_crl prod revoke=web,certificateHold >web-on-hold.crl
crl web-on-hold svid_revoked '"web" is on hold'
other_crls >without-root.crl
crl without-root svid_crl_missing "the issuer's CRL is not there"
one_crl partner >wrong-issuer.crl
crl wrong-issuer svid_crl_missing "the partner's CRL"
one_crl prod from=$past to=$later >expired.crl
crl expired svid_crl_expired 'past its nextUpdate'
one_crl prod from=$future >future.crl
crl future svid_crl_not_yet_valid 'not yet begun'
one_crl prod key=partner >forged.crl
crl forged svid_crl_bad_signature "our CA's name, signed with another key"
one_crl impostor >impostor.crl
crl impostor svid_crl_bad_signature "the CRL of another CA that bears our CA's name"
one_crl prod to=20990101000000Z >no-next-update.crl
resign_crl no-next-update.crl prod "$(der 18 "$(printf 20990101000000Z | hex)")"
crl no-next-update unusable 'no nextUpdate'
one_crl prod more='2.5.29.27 = critical,DER:020100' >delta.crl
crl delta unusable 'a delta CRL'
one_crl prod more='1.3.6.1.4.1.55555.1 = critical,DER:0500' >critical-extension.crl
crl critical-extension unusable 'an unknown critical extension'
one_crl prod more='issuingDistributionPoint = critical,indirectCRL:TRUE' >indirect.crl
crl indirect unusable 'an indirect CRL'
: >nothing.crl
crl nothing unusable 'an empty file'
head -c 200 root-only.crl >cut.crl
crl cut unusable 'the first half of a CRL'
cp prod.example.bundle.pem certificates.crl
crl certificates unusable 'certificates and no CRL'
mv "$work/crls.tsv" crls.tsv

# ---- Files to be given as the bundle of prod.example --------------------------------------------

# anchor NAME [USE [LAST]]: an entry of a bundle document; LAST are the last two letters of base64.
anchor() {
    printf '{"use":"%s","kty":"EC","x5c":["%s"]}' "${2-x509-svid}" \
        "$(openssl x509 -in "$work/$1.crt" -outform DER | openssl base64 -A | tr '+/' "${3-+/}")"
}
# bundle NAME MEANING SENTENCE TEXT
bundle() {
    printf '%s\n' "$4" >"$1.bundle"
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$work/bundles.tsv"
}

: >"$work/bundles.tsv"
all="$(anchor prod-old),$(anchor prod),$(anchor prod-next),$(anchor plain)"
bundle document ok 'the anchors as a SPIFFE bundle document' \
    "{\"spiffe_sequence\": 7, \"spiffe_refresh_hint\": 300, \"keys\": [$all]}"
bundle pem ok 'the anchors in PEM' "$(cat prod.example.bundle.pem)"
bundle with-jwt-key ok 'a JWT key among the anchors' \
    "{\"keys\": [{\"use\":\"jwt-svid\",\"kty\":\"EC\",\"kid\":\"1\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"},$all]}"
bundle future-parameters ok 'parameters that nobody knows yet' "{\"keys\": [$all], \"spiffe_new\": {\"a\": [1]}}"
bundle all-revoked svid_untrusted 'no keys: everything is revoked' '{"keys": []}'
bundle other-use svid_untrusted 'keys for another use only' "{\"keys\": [$(anchor prod jwt-svid)]}"
bundle upper-case-use svid_untrusted '"use" in upper case is another use' "{\"keys\": [$(anchor prod X509-SVID)]}"
bundle other-root svid_untrusted 'another root of ours' "{\"keys\": [$(anchor plain)]}"
bundle no-keys unusable 'no "keys"' '{"spiffe_sequence": 7}'
bundle duplicate-name unusable 'a name twice in one object' "{\"keys\": [$all], \"keys\": []}"
bundle trailing unusable 'bytes behind the document' "{\"keys\": [$all]} x"
bundle half unusable 'half a document' "{\"keys\": [$(anchor prod | head -c 300)"
bundle nul unusable 'U+0000 in a string' "{\"keys\": [$all], \"a\": \"b\\u0000\"}"
bundle base64url unusable 'base64url where standard base64 belongs' \
    "{\"keys\": [$(anchor prod x509-svid _-)]}"
bundle not-a-certificate unusable 'an x5c that holds no certificate' \
    '{"keys": [{"use":"x509-svid","kty":"EC","x5c":["MAA="]}]}'
bundle leaf unusable 'an SVID among the anchors' "{\"keys\": [$all,$(anchor web)]}"
bundle merged-document unusable "the partner's anchor among ours" "{\"keys\": [$all,$(anchor partner)]}"
bundle merged-pem unusable "the same in PEM, as a helper that merges federated bundles writes it" \
    "$(cat prod.example.bundle.pem partner.example.bundle.pem)"
bundle list unusable 'a list instead of an object' "[$all]"
bundle nothing unusable 'an empty file' ''
mv "$work/bundles.tsv" bundles.tsv
