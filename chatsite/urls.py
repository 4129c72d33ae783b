"""Every address of the site."""

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from chat.admin import saved_selections, usage_review
from chat.web.login_page import LoginPage

urlpatterns = [
    path("", include("chat.urls")),
    path("accounts/login/", LoginPage.as_view(), name="login"),
    path("accounts/logout/", login_not_required(LogoutView.as_view()), name="logout"),  # as often as one likes
    path("admin/usage/", usage_review.show_usage, name="usage"),
    path("admin/usage/calls/", usage_review.show_calls, name="usage_calls"),
    path("admin/usage/calls/csv/", usage_review.download_calls, name="usage_calls_csv"),
    path("admin/usage/csv/<slug:by>/", usage_review.download_table, name="usage_csv"),
    path("admin/usage/saved/", saved_selections.keep, name="usage_keep"),
    path("admin/usage/saved/<int:pk>/forget/", saved_selections.forget, name="usage_forget"),
    path("admin/", admin.site.urls),
]

handler400 = "chat.http.errors.make_bad_request"
handler404 = "chat.http.errors.render_not_found"
handler500 = "chat.http.errors.render_server_error"
