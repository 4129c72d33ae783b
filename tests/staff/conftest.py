"""The staff and their browser."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission

from chat.models import User
from tests.support.site import Site


@pytest.fixture
def helper(transactional_db: None) -> User:
    """A member of the staff who may retry and is no superuser."""
    user = User.objects.create_user("helper", password="x")
    user.user_permissions.add(Permission.objects.get(codename="retry_answer"))
    return user


@pytest.fixture
async def desk(site: Site, helper: User) -> Site:
    """The staff's browser."""
    return await sync_to_async(Site)(helper)
