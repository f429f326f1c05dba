/* compress.c - what `make demo` does, through the library: compresses the trained classifier of
 * models/ to 8 bits and compares both models on labelled images.
 *
 * usage: compress MODELS_FOLDER; writes fashion_mnist.int8.onnx into the working directory. */
#include <onnxpress.h>
#include <stdio.h>

static int fail(oxp_ctx *ctx, oxp_status status)
{
    fprintf(stderr, "%s: %s\n", oxp_ctx_error_code(ctx), oxp_ctx_error_message(ctx));
    oxp_ctx_free(ctx);
    return status;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "models";
    char model[4096], data[4096], test[4096];
    snprintf(model, sizeof model, "%s/fashion_mnist.onnx", folder);
    snprintf(data, sizeof data, "%s/fashion_mnist_calibration.npz", folder);
    snprintf(test, sizeof test, "%s/fashion_mnist_test.npz", folder);

    oxp_ctx *ctx = oxp_ctx_new();
    if (!ctx)
        return OXP_ELIMIT;
    oxp_report *report = NULL;
    oxp_compress_options options = OXP_COMPRESS_OPTIONS_INIT;
    options.precision = "w8a8";
    options.data = data;
    options.force = true;
    oxp_status status = oxp_compress_file(&report, ctx, model, "fashion_mnist.int8.onnx", &options);
    if (status != OXP_OK)
        return fail(ctx, status);
    fputs(oxp_report_text(report), stdout);
    oxp_report_free(report);

    oxp_compare_options compare = OXP_COMPARE_OPTIONS_INIT;
    status = oxp_compare_files(&report, ctx, model, "fashion_mnist.int8.onnx", test, &compare);
    if (status != OXP_OK)
        return fail(ctx, status);
    fputs(oxp_report_text(report), stdout);
    double accuracy = oxp_report_number(report, "accuracy.b", 0);
    oxp_report_free(report);
    oxp_ctx_free(ctx);
    return accuracy > 0.88 ? 0 : 1;
}
