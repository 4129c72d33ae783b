"""The addresses of the pages, of the staff, and of the API."""

from django.urls import include, path

from chat.api import conversations as api_conversations
from chat.api import exchange as api_exchange
from chat.api import schema
from chat.api import searches as api_searches
from chat.api import shares as api_shares
from chat.api import views as api
from chat.staff import rating_views
from chat.staff import views as staff_views
from chat.web import account, conversations, exchange, live_pages, next_questions, ratings, search, shares, views

for_programs = [
    path("conversations/", api.serve_conversations, name="api-conversations"),
    path("conversations/<uuid:conversation_id>/", api.serve_conversation, name="api-conversation"),
    path("conversations/<uuid:conversation_id>/restore/", api_conversations.restore_conversation, name="api-restore"),
    path("conversations/<uuid:conversation_id>/export/", api_exchange.export_conversation, name="api-export"),
    path("conversations/<uuid:conversation_id>/messages/", api.ask, name="api-messages"),
    path("conversations/<uuid:conversation_id>/shares/", api_shares.serve_shares, name="api-shares"),
    path("conversations/<uuid:conversation_id>/shares/<uuid:share_id>/", api_shares.revoke, name="api-share"),
    path("search/", api_searches.search, name="api-search"),
    path("models/", api.list_models, name="api-models"),
    path("usage/", api.show_usage, name="api-usage"),
    path("schema/", schema.show_openapi, name="api-schema"),
    path("schema/events/", schema.show_event_schema, name="api-event-schema"),
    path("answers/<uuid:answer_id>/", api.show_answer, name="api-answer"),
    path("answers/<uuid:answer_id>/events/", api.stream_events, name="api-events"),
    path("answers/<uuid:answer_id>/stop/", api.stop, name="api-stop"),
    path("answers/<uuid:answer_id>/continue/", api.continue_answer, name="api-continue"),
    path("answers/<uuid:answer_id>/retry/", api.retry, name="api-retry"),
    path("answers/<uuid:answer_id>/rating/", api.change_rating, name="api-rating"),
]

for_staff = [
    path("", staff_views.list_failures, name="staff"),
    path("group/", staff_views.show_group, name="staff-group"),
    path("retry/", staff_views.retry, name="staff-retry"),
    path("dismiss/", staff_views.dismiss, name="staff-dismiss"),
    path("answers/<uuid:answer_id>/read/", staff_views.show_answer, name="staff-read"),
    path("answers/<uuid:answer_id>/undo/", staff_views.undo, name="staff-undo"),
    path("ratings/", rating_views.list_ratings, name="staff-ratings"),
    path("ratings.csv", rating_views.download_ratings, name="staff-ratings-csv"),
    path("ratings/comments.csv", rating_views.download_comments, name="staff-ratings-comments"),
    path("ratings/<int:rating_id>/read/", rating_views.read_rating, name="staff-rating-read"),
    path("batches/", staff_views.list_batches, name="staff-batches"),
    path("batches/<uuid:batch_id>/", staff_views.show_batch, name="staff-batch"),
    path("batches/<uuid:batch_id>/stream/", staff_views.stream_batch, name="staff-batch-stream"),
    path("batches/<uuid:batch_id>/stop/", staff_views.stop, name="staff-batch-stop"),
    path("batches/<uuid:batch_id>/resume/", staff_views.resume, name="staff-batch-resume"),
]

urlpatterns = [
    path("api/", include(for_programs)),
    path("staff/", include(for_staff)),
    path("favicon.ico", views.find_icon, name="icon"),
    path("", views.show_home, name="home"),
    path("c/<uuid:conversation_id>/", views.show_conversation, name="conversation"),
    path("c/<uuid:conversation_id>/live/", live_pages.show_live_page, name="live-page"),
    path("c/<uuid:conversation_id>/turns/<uuid:question_id>/", views.show_turn, name="turn"),
    path("conversations/", conversations.list_conversations, name="conversations"),
    path("conversations/rows/", conversations.list_rows, name="conversation-rows"),
    path("archive/", conversations.list_archive, name="archive"),
    path("c/<uuid:conversation_id>/menu/", conversations.show_menu, name="conversation-menu"),
    path("c/<uuid:conversation_id>/change/", conversations.change_conversation, name="conversation-change"),
    path("c/<uuid:conversation_id>/restore/", conversations.restore_conversation, name="restore"),
    path("c/<uuid:conversation_id>/seen/", conversations.mark_as_read, name="seen"),
    path("c/<uuid:conversation_id>/settings/", views.edit_settings, name="conversation-settings"),
    path("c/<uuid:conversation_id>/export.md", exchange.download_markdown, name="export-markdown"),
    path("c/<uuid:conversation_id>/export.json", exchange.download_json, name="export-json"),
    path("c/<uuid:conversation_id>/print/", exchange.print_conversation, name="print"),
    path("c/<uuid:conversation_id>/delete/", conversations.delete_conversation, name="delete"),
    path("search/", search.show_search, name="search"),
    path("c/<uuid:conversation_id>/next/", next_questions.show_next, name="next-questions"),
    path("next/<int:next_id>/edit/", next_questions.edit_next, name="edit-next"),
    path("next/<int:next_id>/remove/", next_questions.remove_next, name="remove-next"),
    path("next/<int:next_id>/send/", next_questions.send_next, name="send-next"),
    path("send/", views.send, name="send"),
    path("stop/", views.stop, name="stop"),
    path("answers/<uuid:answer_id>/stream/", views.stream_answer, name="answer-stream"),
    path("answers/<uuid:answer_id>/retry/", views.retry, name="retry"),
    path("answers/<uuid:answer_id>/continue/", views.continue_answer, name="continue"),
    path("answers/<uuid:answer_id>/rate/", ratings.rate, name="rate"),
    path("answers/<uuid:answer_id>/rating/", ratings.comment_on_answer, name="rating"),
    path("c/<uuid:conversation_id>/shares/", shares.edit_shares, name="conversation-shares"),
    path("account/shares/", shares.list_shares, name="own-shares"),
    path("account/shares/<uuid:share_id>/revoke/", shares.revoke_share, name="revoke-share"),
    path("s/<slug:secret>/", shares.show_shared, name="shared"),
    path("s/<slug:secret>/answers/<uuid:answer_id>/stream/", shares.stream_shared, name="shared-stream"),
    path("s/<slug:secret>/copy/", shares.copy_shared, name="shared-copy"),
    path("robots.txt", shares.show_robots, name="robots"),
    path("messages/<uuid:message_id>/show/", views.show_message, name="show"),
    path("alerts/<int:alert_id>/dismiss/", account.dismiss_alert, name="dismiss-alert"),
    path("account/usage/", account.show_usage, name="own-usage"),
    path("account/data/", exchange.show_data, name="data"),
    path("account/data/export/", exchange.begin_export, name="data-export"),
    path("account/data/import/<str:token>/", exchange.begin_import, name="data-import"),
    path("account/data/jobs/<uuid:job_id>/delete/", exchange.delete_exchange, name="data-delete"),
    path("account/data/files/<str:token>/", exchange.download_archive, name="data-file"),
]
