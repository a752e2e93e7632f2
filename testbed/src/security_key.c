/*
 * A security key in software, in the shape in which OpenSSH loads one (SSH_SK_PROVIDER). Its signatures are those of PROTOCOL.u2f.
 *
 * For tests alone: a key handle is the private key itself, so that nothing has to be remembered between two calls.
 */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What OpenSSH asks for since 8.9. */
#define API_VERSION 0x000a0000

#define ALGORITHM_ECDSA 0
#define ALGORITHM_ED25519 1

#define FAILED (-1)
#define UNSUPPORTED (-2)

/* In the key's flags: somebody has to touch it. In a signature's: somebody did. */
#define TOUCH 1

#define NUMBER_BYTES 32
#define POINT_BYTES 65
#define SIGNED_BYTES (SHA256_DIGEST_LENGTH + 1 + 4 + SHA256_DIGEST_LENGTH)

struct sk_enroll_response {
    uint8_t flags;
    uint8_t *public_key;
    size_t public_key_len;
    uint8_t *key_handle;
    size_t key_handle_len;
    uint8_t *signature;
    size_t signature_len;
    uint8_t *attestation_cert;
    size_t attestation_cert_len;
    uint8_t *authdata;
    size_t authdata_len;
};

struct sk_sign_response {
    uint8_t flags;
    uint32_t counter;
    uint8_t *sig_r;
    size_t sig_r_len;
    uint8_t *sig_s;
    size_t sig_s_len;
};

struct sk_option;
struct sk_resident_key;

uint32_t sk_api_version(void)
{
    return API_VERSION;
}

/* A copy that whoever asked frees. */
static uint8_t *copy(const uint8_t *bytes, size_t length)
{
    uint8_t *copied = malloc(length);
    if (copied != NULL)
        memcpy(copied, bytes, length);
    return copied;
}

/* As the wire has it: an uncompressed point, or the 32 bytes of Ed25519. */
static int take_public_key(const EVP_PKEY *key, uint32_t algorithm, struct sk_enroll_response *response)
{
    uint8_t bytes[POINT_BYTES];
    size_t length = sizeof(bytes);
    int is_taken = algorithm == ALGORITHM_ECDSA
        ? EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, bytes, sizeof(bytes), &length)
        : EVP_PKEY_get_raw_public_key(key, bytes, &length);
    if (is_taken != 1)
        return 0;
    response->public_key = copy(bytes, length);
    response->public_key_len = length;
    return response->public_key != NULL;
}

static int take_key_handle(const EVP_PKEY *key, struct sk_enroll_response *response)
{
    unsigned char *der = NULL;
    int length = i2d_PrivateKey(key, &der);
    if (length <= 0)
        return 0;
    response->key_handle = copy(der, (size_t)length);
    response->key_handle_len = (size_t)length;
    OPENSSL_free(der);
    return response->key_handle != NULL;
}

int sk_enroll(uint32_t algorithm, const uint8_t *challenge, size_t challenge_len, const char *application,
    uint8_t flags, const char *pin, struct sk_option **options, struct sk_enroll_response **enrolled)
{
    (void)challenge, (void)challenge_len, (void)application, (void)pin, (void)options;
    if (algorithm != ALGORITHM_ECDSA && algorithm != ALGORITHM_ED25519)
        return UNSUPPORTED;
    EVP_PKEY *key = algorithm == ALGORITHM_ECDSA ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    struct sk_enroll_response *response = calloc(1, sizeof(*response));
    if (key == NULL || response == NULL)
        return FAILED;
    response->flags = flags;
    /* Nobody attests to what is made here: these stay empty. */
    response->signature = calloc(1, 1);
    response->attestation_cert = calloc(1, 1);
    response->authdata = calloc(1, 1);
    int is_enrolled = take_public_key(key, algorithm, response) && take_key_handle(key, response);
    EVP_PKEY_free(key);
    if (!is_enrolled)
        return FAILED;
    *enrolled = response;
    return 0;
}

/* PROTOCOL.u2f: SHA-256 of the application, flags, counter, SHA-256 of the message. */
static void put_signed(const char *application, const struct sk_sign_response *response, const uint8_t *message,
    size_t message_len, uint8_t *out)
{
    SHA256((const uint8_t *)application, strlen(application), out);
    out += SHA256_DIGEST_LENGTH;
    *out++ = response->flags;
    for (int shift = 24; shift >= 0; shift -= 8)
        *out++ = (uint8_t)(response->counter >> shift);
    SHA256(message, message_len, out);
}

/* The two numbers of an ECDSA signature, each as long as the curve's. */
static int take_numbers(const uint8_t *der, size_t length, struct sk_sign_response *response)
{
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)length);
    response->sig_r = malloc(NUMBER_BYTES);
    response->sig_s = malloc(NUMBER_BYTES);
    response->sig_r_len = response->sig_s_len = NUMBER_BYTES;
    int is_taken = signature != NULL && response->sig_r != NULL && response->sig_s != NULL
        && BN_bn2binpad(ECDSA_SIG_get0_r(signature), response->sig_r, NUMBER_BYTES) == NUMBER_BYTES
        && BN_bn2binpad(ECDSA_SIG_get0_s(signature), response->sig_s, NUMBER_BYTES) == NUMBER_BYTES;
    ECDSA_SIG_free(signature);
    return is_taken;
}

int sk_sign(uint32_t algorithm, const uint8_t *message, size_t message_len, const char *application,
    const uint8_t *key_handle, size_t key_handle_len, uint8_t flags, const char *pin, struct sk_option **options,
    struct sk_sign_response **signed_response)
{
    (void)pin, (void)options;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &key_handle, (long)key_handle_len);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    struct sk_sign_response *response = calloc(1, sizeof(*response));
    if (key == NULL || context == NULL || response == NULL)
        return FAILED;
    /* There is a finger on it whenever the key asks for one, and never otherwise. */
    response->flags = flags & TOUCH;
    response->counter = 1;
    uint8_t to_sign[SIGNED_BYTES], signature[128];
    size_t length = sizeof(signature);
    put_signed(application, response, message, message_len, to_sign);
    const EVP_MD *digest = algorithm == ALGORITHM_ECDSA ? EVP_sha256() : NULL;
    int is_signed = EVP_DigestSignInit(context, NULL, digest, NULL, key) == 1
        && EVP_DigestSign(context, signature, &length, to_sign, sizeof(to_sign)) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    if (is_signed && algorithm == ALGORITHM_ECDSA) {
        is_signed = take_numbers(signature, length, response);
    } else if (is_signed) {
        response->sig_r = copy(signature, length);
        response->sig_r_len = length;
    }
    if (!is_signed)
        return FAILED;
    *signed_response = response;
    return 0;
}

/* Nothing is kept on it. */
int sk_load_resident_keys(const char *pin, struct sk_option **options, struct sk_resident_key ***keys, size_t *count)
{
    (void)pin, (void)options, (void)keys, (void)count;
    return UNSUPPORTED;
}
