"""Synchronises users with scim2-client, one after the other. Arguments: base URL, token, how many."""

import json
import resource
import sys
import time

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import Email, EnterpriseUser, Name, PatchOp, PatchOperation, ResourceType, ScimProvider, SearchRequest, User

base, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
UserModel = User[EnterpriseUser]
provider = ScimProvider(models=[User, EnterpriseUser], resource_types=[ResourceType.from_resource(UserModel)])
http = Client(base_url=base, headers={"Authorization": f"Bearer {token}"})
scim = SyncSCIMClient(http, provider=provider)


def wanted(number, turn):
    title = "Principal" if turn == 2 and number % 10 == 0 else "Engineer"
    enterprise = EnterpriseUser(department=f"Department {number % 40}", employee_number=str(number))
    user = UserModel(
        user_name=f"user{number:06}@example.com",
        external_id=f"hr-{number:06}",
        name=Name(given_name=f"Given{number}", family_name=f"Family{number}"),
        display_name=f"Given{number} Family{number}",
        title=title,
        active=True,
        emails=[Email(value=f"user{number:06}@example.com", type="work", primary=True)],
    )
    user[EnterpriseUser] = enterprise
    return user


def turn(which):
    began = time.perf_counter()
    created = changed = 0
    for number in range(count):
        user = wanted(number, which)
        found = scim.query(UserModel, SearchRequest(filter=f'userName eq "{user.user_name}"'))
        if not found.resources:
            scim.create(user)
            created += 1
        elif found.resources[0].title != user.title:
            operation = PatchOperation(op=PatchOperation.Op.replace_, path="title", value=user.title)
            scim.modify(UserModel, found.resources[0].id, PatchOp[UserModel](operations=[operation]))
            changed += 1
    return {"seconds": time.perf_counter() - began, "created": created, "changed": changed}


turns = [turn(1), turn(2)]
print(json.dumps({"turns": turns, "resident_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
