"""Reads a listing with scim2-models. Arguments: base URL, how many users, page size."""

import http.client
import json
import resource
import sys
import time
from urllib.parse import urlsplit

from scim2_models import Context, EnterpriseUser, ListResponse, User

base, count, size = urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
Page = ListResponse[User[EnterpriseUser]]
connection = http.client.HTTPConnection(base.hostname, base.port)
pages = []
for start in range(1, count + 1, size):
    connection.request("GET", f"{base.path}/Users?startIndex={start}&count={size}")
    pages.append(connection.getresponse().read())

began = time.perf_counter()
users = 0
for page in pages:
    users += len(Page.model_validate_json(page, scim_ctx=Context.RESOURCE_QUERY_RESPONSE).resources)
seconds = time.perf_counter() - began

began = time.perf_counter()
for page in pages:
    json.loads(page)
plain = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"users": users, "seconds": seconds, "json_seconds": plain, "resident_kib": peak}))
