"""Every address of the site."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from chat import review

urlpatterns = [
    path("", include("chat.urls")),
    path("accounts/login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/usage/", review.usage, name="usage"),
    path("admin/usage/calls/", review.calls, name="usage_calls"),
    path("admin/usage/calls/csv/", review.calls_csv, name="usage_calls_csv"),
    path("admin/usage/csv/<slug:by>/", review.table_csv, name="usage_csv"),
    path("admin/", admin.site.urls),
]

handler404 = "chat.views.not_found"
