/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Just enough JSON reading for mock-llm: walks the members of one object without copying. What is
 * nested deeper is skipped by balance of brackets, not checked.
 */
#ifndef MOCK_JSON_H
#define MOCK_JSON_H

#include "buf.h"

struct json_iter {
	struct span rest;
	int state;
};

/* text is one whole JSON object; what comes after it may be white space only. */
void json_start(struct json_iter *it, struct span text);
/*
 * 1: a member; key is the raw text between its quotes, value its raw text (a string with its
 * quotes). 0: the end of the object. -1: malformed.
 */
int json_next(struct json_iter *it, struct span *key, struct span *value);
/* The raw text between the quotes, false when the value is not a string. */
bool json_string(struct span value, struct span *text);

#endif
