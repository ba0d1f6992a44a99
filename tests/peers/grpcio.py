"""Receiver of OTLP over gRPC, of the packages grpcio and opentelemetry-proto.

Prints its port, then the kind and the event id of each item. The argument is the largest size of a
message in bytes, above which gRPC itself rejects a request.
"""

import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


def report(kind, items):
    for item in items:
        ids = [pair.value.string_value for pair in item.attributes if pair.key == "observer.event.id"]
        print(kind, *ids, flush=True)


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                report("logs", scope.log_records)
        return logs_service_pb2.ExportLogsServiceResponse()


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                report("traces", scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


options = [("grpc.max_receive_message_length", int(sys.argv[1]))]
server = grpc.server(futures.ThreadPoolExecutor(2), options=options)
logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
print("port", server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
