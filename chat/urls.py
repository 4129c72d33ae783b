"""The addresses of the pages, of the staff, and of the API."""

from django.urls import include, path

from chat import account, api, staff_views, views

for_programs = [
    path("conversations/", api.conversations, name="api-conversations"),
    path("conversations/<uuid:conversation_id>/", api.conversation, name="api-conversation"),
    path("conversations/<uuid:conversation_id>/messages/", api.messages, name="api-messages"),
    path("answers/<uuid:answer_id>/", api.answer, name="api-answer"),
    path("answers/<uuid:answer_id>/events/", api.events, name="api-events"),
    path("answers/<uuid:answer_id>/stop/", api.stop, name="api-stop"),
    path("answers/<uuid:answer_id>/continue/", api.continue_, name="api-continue"),
    path("answers/<uuid:answer_id>/retry/", api.retry, name="api-retry"),
]

for_staff = [
    path("", staff_views.failures, name="staff"),
    path("group/", staff_views.group, name="staff-group"),
    path("retry/", staff_views.retry, name="staff-retry"),
    path("dismiss/", staff_views.dismiss, name="staff-dismiss"),
    path("answers/<uuid:answer_id>/read/", staff_views.read, name="staff-read"),
    path("answers/<uuid:answer_id>/undo/", staff_views.undo, name="staff-undo"),
    path("batches/<uuid:batch_id>/", staff_views.batch, name="staff-batch"),
    path("batches/<uuid:batch_id>/stream/", staff_views.batch_stream, name="staff-batch-stream"),
    path("batches/<uuid:batch_id>/stop/", staff_views.stop, name="staff-batch-stop"),
]

urlpatterns = [
    path("api/", include(for_programs)),
    path("staff/", include(for_staff)),
    path("", views.home, name="home"),
    path("c/<uuid:conversation_id>/", views.conversation, name="conversation"),
    path("c/<uuid:conversation_id>/turns/<uuid:question_id>/", views.turn, name="turn"),
    path("conversations/", views.conversations, name="conversations"),
    path("c/<uuid:conversation_id>/settings/", views.conversation_settings, name="conversation-settings"),
    path("c/<uuid:conversation_id>/delete/", views.delete, name="delete"),
    path("send/", views.send, name="send"),
    path("stop/", views.stop, name="stop"),
    path("answers/<uuid:answer_id>/stream/", views.answer_stream, name="answer-stream"),
    path("answers/<uuid:answer_id>/retry/", views.retry, name="retry"),
    path("answers/<uuid:answer_id>/continue/", views.continue_, name="continue"),
    path("messages/<uuid:message_id>/show/", views.show, name="show"),
    path("account/usage/", account.usage, name="own-usage"),
]
