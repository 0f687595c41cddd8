/* SPDX-License-Identifier: BSD-2-Clause */
/* Static files: from a request's path to a file, and which one. files_send.c sends it. */
#ifndef SL_PROXY_FILES_H
#define SL_PROXY_FILES_H

#include "core/arena.h"
#include "proxy/pipeline.h"

/* Steps of the pipeline. */
enum step_result files_step_try(struct request *r);   /* try_files */
enum step_result files_step_serve(struct request *r); /* index, and the file itself */

/* Does anything here serve files? */
bool files_are_served(const struct request *r);
/* The Content-Type that the request's path means. */
struct slice files_type(const struct request *r);

/* $request_filename, $document_root, $realpath_root; false: no root. In A, NUL-terminated. */
bool files_path(struct request *r, struct arena *a, struct slice *out);
bool files_root(struct request *r, struct arena *a, struct slice *out);
bool files_real_root(struct request *r, struct arena *a, struct slice *out);

#endif
