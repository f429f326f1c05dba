/* schema.c - our schema against the published one: what the onnx package 1.23 describes, field by
 * field and value by value. A field too few would move it behind the known ones when a model is
 * written; a wrong number would lose it. */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx.pb-c.h"

/* clang-format off */
static const char *const published_fields[] = {
    "AttributeProto.doc_string 13 optional string",
    "AttributeProto.f 2 optional float",
    "AttributeProto.floats 7 repeated float",
    "AttributeProto.g 6 optional GraphProto",
    "AttributeProto.graphs 11 repeated GraphProto",
    "AttributeProto.i 3 optional int64",
    "AttributeProto.ints 8 repeated int64",
    "AttributeProto.name 1 optional string",
    "AttributeProto.ref_attr_name 21 optional string",
    "AttributeProto.s 4 optional bytes",
    "AttributeProto.sparse_tensor 22 optional SparseTensorProto",
    "AttributeProto.sparse_tensors 23 repeated SparseTensorProto",
    "AttributeProto.strings 9 repeated bytes",
    "AttributeProto.t 5 optional TensorProto",
    "AttributeProto.tensors 10 repeated TensorProto",
    "AttributeProto.tp 14 optional TypeProto",
    "AttributeProto.type 20 optional AttributeProto.AttributeType",
    "AttributeProto.type_protos 15 repeated TypeProto",
    "DeviceConfigurationProto.device 3 repeated string",
    "DeviceConfigurationProto.name 1 optional string",
    "DeviceConfigurationProto.num_devices 2 optional int32",
    "FunctionProto.attribute 6 repeated string",
    "FunctionProto.attribute_proto 11 repeated AttributeProto",
    "FunctionProto.doc_string 8 optional string",
    "FunctionProto.domain 10 optional string",
    "FunctionProto.input 4 repeated string",
    "FunctionProto.metadata_props 14 repeated StringStringEntryProto",
    "FunctionProto.name 1 optional string",
    "FunctionProto.node 7 repeated NodeProto",
    "FunctionProto.opset_import 9 repeated OperatorSetIdProto",
    "FunctionProto.output 5 repeated string",
    "FunctionProto.overload 13 optional string",
    "FunctionProto.value_info 12 repeated ValueInfoProto",
    "GraphProto.doc_string 10 optional string",
    "GraphProto.initializer 5 repeated TensorProto",
    "GraphProto.input 11 repeated ValueInfoProto",
    "GraphProto.metadata_props 16 repeated StringStringEntryProto",
    "GraphProto.name 2 optional string",
    "GraphProto.node 1 repeated NodeProto",
    "GraphProto.output 12 repeated ValueInfoProto",
    "GraphProto.quantization_annotation 14 repeated TensorAnnotation",
    "GraphProto.sparse_initializer 15 repeated SparseTensorProto",
    "GraphProto.value_info 13 repeated ValueInfoProto",
    "IntIntListEntryProto.key 1 optional int64",
    "IntIntListEntryProto.value 2 repeated int64",
    "ModelProto.configuration 26 repeated DeviceConfigurationProto",
    "ModelProto.doc_string 6 optional string",
    "ModelProto.domain 4 optional string",
    "ModelProto.functions 25 repeated FunctionProto",
    "ModelProto.graph 7 optional GraphProto",
    "ModelProto.ir_version 1 optional int64",
    "ModelProto.metadata_props 14 repeated StringStringEntryProto",
    "ModelProto.model_version 5 optional int64",
    "ModelProto.opset_import 8 repeated OperatorSetIdProto",
    "ModelProto.producer_name 2 optional string",
    "ModelProto.producer_version 3 optional string",
    "ModelProto.training_info 20 repeated TrainingInfoProto",
    "NodeDeviceConfigurationProto.configuration_id 1 optional string",
    "NodeDeviceConfigurationProto.pipeline_stage 3 optional int32",
    "NodeDeviceConfigurationProto.sharding_spec 2 repeated ShardingSpecProto",
    "NodeProto.attribute 5 repeated AttributeProto",
    "NodeProto.device_configurations 10 repeated NodeDeviceConfigurationProto",
    "NodeProto.doc_string 6 optional string",
    "NodeProto.domain 7 optional string",
    "NodeProto.input 1 repeated string",
    "NodeProto.metadata_props 9 repeated StringStringEntryProto",
    "NodeProto.name 3 optional string",
    "NodeProto.op_type 4 optional string",
    "NodeProto.output 2 repeated string",
    "NodeProto.overload 8 optional string",
    "OperatorSetIdProto.domain 1 optional string",
    "OperatorSetIdProto.version 2 optional int64",
    "ShardedDimProto.axis 1 optional int64",
    "ShardedDimProto.simple_sharding 2 repeated SimpleShardedDimProto",
    "ShardingSpecProto.device 2 repeated int64",
    "ShardingSpecProto.index_to_device_group_map 3 repeated IntIntListEntryProto",
    "ShardingSpecProto.sharded_dim 4 repeated ShardedDimProto",
    "ShardingSpecProto.tensor_name 1 optional string",
    "SimpleShardedDimProto.dim_param 2 oneof string",
    "SimpleShardedDimProto.dim_value 1 oneof int64",
    "SimpleShardedDimProto.num_shards 3 optional int64",
    "SparseTensorProto.dims 3 repeated int64",
    "SparseTensorProto.indices 2 optional TensorProto",
    "SparseTensorProto.values 1 optional TensorProto",
    "StringStringEntryProto.key 1 optional string",
    "StringStringEntryProto.value 2 optional string",
    "TensorAnnotation.quant_parameter_tensor_names 2 repeated StringStringEntryProto",
    "TensorAnnotation.tensor_name 1 optional string",
    "TensorProto.Segment.begin 1 optional int64",
    "TensorProto.Segment.end 2 optional int64",
    "TensorProto.data_location 14 optional TensorProto.DataLocation",
    "TensorProto.data_type 2 optional int32",
    "TensorProto.dims 1 repeated int64",
    "TensorProto.doc_string 12 optional string",
    "TensorProto.double_data 10 repeated packed double",
    "TensorProto.external_data 13 repeated StringStringEntryProto",
    "TensorProto.float_data 4 repeated packed float",
    "TensorProto.int32_data 5 repeated packed int32",
    "TensorProto.int64_data 7 repeated packed int64",
    "TensorProto.metadata_props 16 repeated StringStringEntryProto",
    "TensorProto.name 8 optional string",
    "TensorProto.raw_data 9 optional bytes",
    "TensorProto.segment 3 optional TensorProto.Segment",
    "TensorProto.string_data 6 repeated bytes",
    "TensorProto.uint64_data 11 repeated packed uint64",
    "TensorShapeProto.Dimension.denotation 3 optional string",
    "TensorShapeProto.Dimension.dim_param 2 oneof string",
    "TensorShapeProto.Dimension.dim_value 1 oneof int64",
    "TensorShapeProto.dim 1 repeated TensorShapeProto.Dimension",
    "TrainingInfoProto.algorithm 2 optional GraphProto",
    "TrainingInfoProto.initialization 1 optional GraphProto",
    "TrainingInfoProto.initialization_binding 3 repeated StringStringEntryProto",
    "TrainingInfoProto.update_binding 4 repeated StringStringEntryProto",
    "TypeProto.Map.key_type 1 optional int32",
    "TypeProto.Map.value_type 2 optional TypeProto",
    "TypeProto.Opaque.domain 1 optional string",
    "TypeProto.Opaque.name 2 optional string",
    "TypeProto.Optional.elem_type 1 optional TypeProto",
    "TypeProto.Sequence.elem_type 1 optional TypeProto",
    "TypeProto.SparseTensor.elem_type 1 optional int32",
    "TypeProto.SparseTensor.shape 2 optional TensorShapeProto",
    "TypeProto.Tensor.elem_type 1 optional int32",
    "TypeProto.Tensor.shape 2 optional TensorShapeProto",
    "TypeProto.denotation 6 optional string",
    "TypeProto.map_type 5 oneof TypeProto.Map",
    "TypeProto.opaque_type 7 oneof TypeProto.Opaque",
    "TypeProto.optional_type 9 oneof TypeProto.Optional",
    "TypeProto.sequence_type 4 oneof TypeProto.Sequence",
    "TypeProto.sparse_tensor_type 8 oneof TypeProto.SparseTensor",
    "TypeProto.tensor_type 1 oneof TypeProto.Tensor",
    "ValueInfoProto.doc_string 3 optional string",
    "ValueInfoProto.metadata_props 4 repeated StringStringEntryProto",
    "ValueInfoProto.name 1 optional string",
    "ValueInfoProto.type 2 optional TypeProto",
};

static const char *const published_values[] = {
    "AttributeProto.AttributeType.FLOAT 1",
    "AttributeProto.AttributeType.FLOATS 6",
    "AttributeProto.AttributeType.GRAPH 5",
    "AttributeProto.AttributeType.GRAPHS 10",
    "AttributeProto.AttributeType.INT 2",
    "AttributeProto.AttributeType.INTS 7",
    "AttributeProto.AttributeType.SPARSE_TENSOR 11",
    "AttributeProto.AttributeType.SPARSE_TENSORS 12",
    "AttributeProto.AttributeType.STRING 3",
    "AttributeProto.AttributeType.STRINGS 8",
    "AttributeProto.AttributeType.TENSOR 4",
    "AttributeProto.AttributeType.TENSORS 9",
    "AttributeProto.AttributeType.TYPE_PROTO 13",
    "AttributeProto.AttributeType.TYPE_PROTOS 14",
    "AttributeProto.AttributeType.UNDEFINED 0",
    "OperatorStatus.EXPERIMENTAL 0",
    "OperatorStatus.STABLE 1",
    "TensorProto.DataLocation.DEFAULT 0",
    "TensorProto.DataLocation.EXTERNAL 1",
    "TensorProto.DataType.BFLOAT16 16",
    "TensorProto.DataType.BOOL 9",
    "TensorProto.DataType.COMPLEX128 15",
    "TensorProto.DataType.COMPLEX64 14",
    "TensorProto.DataType.DOUBLE 11",
    "TensorProto.DataType.FLOAT 1",
    "TensorProto.DataType.FLOAT16 10",
    "TensorProto.DataType.FLOAT4E2M1 23",
    "TensorProto.DataType.FLOAT6E2M3 27",
    "TensorProto.DataType.FLOAT6E3M2 28",
    "TensorProto.DataType.FLOAT8E4M3FN 17",
    "TensorProto.DataType.FLOAT8E4M3FNUZ 18",
    "TensorProto.DataType.FLOAT8E5M2 19",
    "TensorProto.DataType.FLOAT8E5M2FNUZ 20",
    "TensorProto.DataType.FLOAT8E8M0 24",
    "TensorProto.DataType.INT16 5",
    "TensorProto.DataType.INT2 26",
    "TensorProto.DataType.INT32 6",
    "TensorProto.DataType.INT4 22",
    "TensorProto.DataType.INT64 7",
    "TensorProto.DataType.INT8 3",
    "TensorProto.DataType.STRING 8",
    "TensorProto.DataType.UINT16 4",
    "TensorProto.DataType.UINT2 25",
    "TensorProto.DataType.UINT32 12",
    "TensorProto.DataType.UINT4 21",
    "TensorProto.DataType.UINT64 13",
    "TensorProto.DataType.UINT8 2",
    "TensorProto.DataType.UNDEFINED 0",
    "Version.IR_VERSION 14",
    "Version.IR_VERSION_2017_10_10 1",
    "Version.IR_VERSION_2017_10_30 2",
    "Version.IR_VERSION_2017_11_3 3",
    "Version.IR_VERSION_2019_1_22 4",
    "Version.IR_VERSION_2019_3_18 5",
    "Version.IR_VERSION_2019_9_19 6",
    "Version.IR_VERSION_2020_5_8 7",
    "Version.IR_VERSION_2021_7_30 8",
    "Version.IR_VERSION_2023_5_5 9",
    "Version.IR_VERSION_2024_3_25 10",
    "Version.IR_VERSION_2025_05_12 11",
    "Version.IR_VERSION_2025_08_26 12",
    "Version.IR_VERSION_2025_11_06 13",
    "Version._START_VERSION 0",
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MAX_LINES 400
#define LINE_BYTES 160

typedef struct lines {
    char text[MAX_LINES][LINE_BYTES];
    size_t count;
} lines;

static const char *scalar_name(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        return "double";
    case PROTOBUF_C_TYPE_FLOAT:
        return "float";
    case PROTOBUF_C_TYPE_INT64:
        return "int64";
    case PROTOBUF_C_TYPE_UINT64:
        return "uint64";
    case PROTOBUF_C_TYPE_INT32:
        return "int32";
    case PROTOBUF_C_TYPE_STRING:
        return "string";
    case PROTOBUF_C_TYPE_BYTES:
        return "bytes";
    default:
        return "?";
    }
}

/* Names of the schema without "onnx." */
static const char *local_name(const char *name)
{
    return strncmp(name, "onnx.", 5) == 0 ? name + 5 : name;
}

static void add_field(lines *l, const ProtobufCMessageDescriptor *m,
                      const ProtobufCFieldDescriptor *f)
{
    const char *label = (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 ? "oneof"
                        : f->label == PROTOBUF_C_LABEL_REPEATED       ? "repeated"
                                                                      : "optional";
    const char *type = scalar_name(f->type);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        type = local_name(((const ProtobufCMessageDescriptor *)f->descriptor)->name);
    if (f->type == PROTOBUF_C_TYPE_ENUM)
        type = local_name(((const ProtobufCEnumDescriptor *)f->descriptor)->name);
    cr_assert(l->count < MAX_LINES);
    snprintf(l->text[l->count++], LINE_BYTES, "%s.%s %u %s%s %s", local_name(m->name), f->name,
             f->id, label, (f->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0 ? " packed" : "", type);
}

static void add_values(lines *l, const ProtobufCEnumDescriptor *e)
{
    for (unsigned i = 0; i < e->n_value_names; i++) {
        cr_assert(l->count < MAX_LINES);
        snprintf(l->text[l->count++], LINE_BYTES, "%s.%s %d", local_name(e->name),
                 e->values_by_name[i].name, e->values[e->values_by_name[i].index].value);
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void expect_lines(lines *l, const char *const *published, size_t count)
{
    qsort(l->text, l->count, LINE_BYTES, compare_lines);
    size_t ours = 0, theirs = 0;
    while (ours < l->count || theirs < count) {
        int order = ours == l->count  ? 1
                    : theirs == count ? -1
                                      : strcmp(l->text[ours], published[theirs]);
        cr_expect(order >= 0, "not in the published schema: %s", l->text[ours]);
        cr_expect(order <= 0, "missing: %s", published[theirs]);
        ours += order <= 0;
        theirs += order >= 0;
    }
}

Test(schema, every_field_is_the_published_one)
{
    static lines l;
    const ProtobufCMessageDescriptor *messages[64] = {&onnx__model_proto__descriptor};
    size_t count = 1;
    for (size_t i = 0; i < count; i++) {
        for (unsigned k = 0; k < messages[i]->n_fields; k++) {
            const ProtobufCFieldDescriptor *f = &messages[i]->fields[k];
            add_field(&l, messages[i], f);
            bool known = f->type != PROTOBUF_C_TYPE_MESSAGE;
            for (size_t j = 0; j < count; j++)
                known = known || messages[j] == f->descriptor;
            if (!known)
                messages[count++] = f->descriptor;
        }
    }
    expect_lines(&l, published_fields, COUNT(published_fields));
}

Test(schema, every_enum_value_is_the_published_one)
{
    static lines l;
    static const ProtobufCEnumDescriptor *const enums[] = {
        &onnx__version__descriptor, &onnx__operator_status__descriptor,
        &onnx__attribute_proto__attribute_type__descriptor,
        &onnx__tensor_proto__data_type__descriptor, &onnx__tensor_proto__data_location__descriptor};
    for (size_t i = 0; i < COUNT(enums); i++)
        add_values(&l, enums[i]);
    expect_lines(&l, published_values, COUNT(published_values));
}
