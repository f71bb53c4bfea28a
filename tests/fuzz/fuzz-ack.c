/* PutMedia acknowledgements. */
#include "fuzz.h"

#include "wire/ack.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(KvgAckParser) parser = kvg_ack_parser_new();
    KvgAck ack;
    if (!kvg_ack_parser_put(parser, data, size, NULL))
        return 0;
    while (kvg_ack_parser_step(parser, &ack, NULL) == KVG_ACK_STEP_ACK) {
        g_autofree char *text = kvg_ack_to_text(&ack);
        g_assert(strlen(text) <= 1024);
    }
    return 0;
}
